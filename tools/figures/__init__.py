"""Every figure that was asked for, what each command measured, and the one table of both (docs/figures.md)."""
