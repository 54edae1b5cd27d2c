"""The page of every action that policies may name: `python -m tools.access_actions > docs/access-actions.md`.

A test holds the page to what this prints.
"""

from __future__ import annotations

from signer.access.table import action_table

_ABOVE = """\
# Every action that policies may name

Made from `signer/access/actions.py` and `signer/access/duties.py`; a test holds this page to them. `sealmark access
actions` prints the same. What the words mean: [access](access.md).

**Part**: `administer` decides what a key is or who may do what with it, `use` needs its private or secret half,
`neutral` does neither. Nobody administers and uses one key. **Duties**: who can have the action at all; the
break-glass `root` has what both administrators have. An action without a duty is known to policies, because AWS KMS
has it, and this version has no call for it.

| action | part | duties |
|---|---|---|
"""


def page() -> str:
    """The whole page, in Markdown."""
    rows = [
        f"| `{row['action']}` | {row['part']} | {', '.join(_names(row['duties'])) or 'no call yet'} |"
        for row in action_table()
    ]
    return _ABOVE + "\n".join(rows) + "\n"


def _names(duties: object) -> list[str]:
    return [f"`{duty}`" for duty in duties] if isinstance(duties, list) else []


if __name__ == "__main__":
    print(page(), end="")
