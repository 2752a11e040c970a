// Code, tables, pictures and equations that scroll sideways can be reached with the keyboard, and arrows then scroll them.

function makeReachable() {
  for (const part of document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .picture, .equation")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}

new MutationObserver(makeReachable).observe(document.body, { childList: true, subtree: true }); // the theme wraps tables late
addEventListener("resize", makeReachable);
addEventListener("load", makeReachable);
