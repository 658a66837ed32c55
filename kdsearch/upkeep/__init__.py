"""Looking after what searches leave: checked and repaired, tidied, deleted, moved between machines.

Nothing in here trains or judges. What is removed can be computed again or belongs to nobody; what cannot be had again
(a student's weights, rows of the database) is removed by the user's word alone.
"""
