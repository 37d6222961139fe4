"""`auditor check`: checks a report against a policy.

1. `policy_file.load_policy` reads the TOML file into a `Policy`: `Rule`s in
   `PolicySection`s that say which references they apply to, and `Waiver`s.
2. `rules.RULES` defines every rule: its name, the type of its value (`rule_values`),
   and SQL that returns what violates it. To add a rule, add a `RuleDefinition` there,
   what it needs to scripts/reference_texts.py, and its name to docs/guide/check.md.
3. `evaluate.check_reports` evaluates all rules on a report in one pass over its lines,
   then applies the waivers, and yields `Findings`.
4. `findings.Findings` streams `Violation`s and counts them by rule.
5. `formats` writes them in the output formats.

A field that the report does not contain counts as a violation, unless the section has
`unknown = "ignore"`, so that a missing field never makes a check pass.
"""
