"""Whether a figure reaches the published one."""


def verdict(value: float, limit: float, how: str | None = None) -> str:
    """ "reached" where the value is at most the limit, else by which factor it was missed."""
    told = f" ({how})" if how else ""
    if value <= limit:
        return f"[green]reached[/green]{told}"
    return f"[red]missed {value / limit:.2g}x[/red]{told}"
