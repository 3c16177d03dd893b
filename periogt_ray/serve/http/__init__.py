"""The service's HTTP: routes, limits, key, access log and the page.

Start with ``routes``; ``gate`` is what a request meets before it.
"""
