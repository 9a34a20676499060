"""The report of a study: one HTML file that needs nothing else.

Nothing is imported here, as in `dynamoe_search.report`.
"""
