"""One audit by several: processes of this machine, or a cluster.

Each takes shares of the repositories and leaves a report of each; the parts are put
together in the order of the input.
"""
