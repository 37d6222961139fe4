"""The whole night in one command: `auditor nightly -c nightly.toml`.

A `NightFolder` (night_folder.py) is the state: the audit in progress, the kept
reports, one small JSON file for each night, and the newest complete night under a fixed
name. `NightRun` (night_run.py) does one night: it lets the command audit into the
folder, then keeps the report, adds it to the history, compares it with the previous
complete night, checks the policy and makes the page. An `Announcer` (notifications.py)
writes the metrics, runs the user's command (run_after.py) and sends the notifications,
also for a night that could not begin. Every step can be repeated: a run that was killed
is completed by the next one. Last, retention.py says which nights go. night_text.py has
the texts for people, install_files.py the files for systemd, cron and Kubernetes.

A night is complete if its audit came to its end and found at least one image. Only
complete nights are compared with, added to the history, and published as the latest.
"""
