"""The wire protocol of AWS KMS."""
