"""The four signing calls: what each takes, checks and makes. Nothing here decides who may, writes records or knows
HTTP."""
