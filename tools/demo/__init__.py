"""`make demo`: keys in an HSM, three kinds of signature, verified outside by tools that no one here wrote."""
