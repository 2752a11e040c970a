"""Whether a figure reaches the published one."""


def verdict(value: float, limit: float, how: str | None = None) -> str:
    """The word "reached" if the value is at most the limit, else "missed" with the factor. `how` is added in brackets."""
    told = f" ({how})" if how else ""
    if value <= limit:
        return f"[green]reached[/green]{told}"
    factor = value / limit
    return f"[red]missed {factor:,.0f}x[/red]{told}" if factor >= 10 else f"[red]missed {factor:.2g}x[/red]{told}"
