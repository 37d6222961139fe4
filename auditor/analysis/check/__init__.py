"""`auditor check`: a report held against a policy.

`policy_file` reads the policy, `checks` is the table of everything it can ask for,
`run` asks it of a report in SQL, `findings` gives the answers, `formats` writes them.
"""
