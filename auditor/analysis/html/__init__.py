"""`auditor html`: a report as one page that needs no network.

`page` asks every part for its answer (`source`, `lines`, `matrix`, `trust`, `ages`,
`space`, `changes`, `violations`) and `template` makes the page of them. A page holds at
most so many rows of everything, and says what was cut.
"""
