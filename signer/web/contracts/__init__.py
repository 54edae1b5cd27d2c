"""What each call answers, and an example of what is asked and answered, by kinds of calls.

Examples are real: the tests send each of them to a service and hold what it answers against the answer written here.
"""
