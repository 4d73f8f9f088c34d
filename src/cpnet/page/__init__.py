"""The page of ``python -m cpnet.demo``: a server for one machine, and its static files."""
