"""What the service answers, as typed structs: for `/openapi.json` alone. The tests hold real answers against them.

An answer may gain members in a later version; callers ignore those that they do not know.
"""
