"""The wire protocol of AWS KMS, spoken over the one pipeline: `POST /` with a target, JSON 1.1 in and out.

Nothing is decided here. An operation reads AWS's members into a native body, has the pipeline do what it does for every
caller, and writes the result as AWS's members. Why: docs/adr/0031.
"""
