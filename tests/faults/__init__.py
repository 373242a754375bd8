"""The faults that Rolltrace is built for, each against the services as users run them.

Every test makes a row of the report (report.py), and runs the five promises of Subscribe and the check of
completeness over what agents, a trainer and the environment saw (site.py). docs/reliability.md names them.
"""
