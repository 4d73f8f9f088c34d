"""Runs turned into tables and pictures.

``runs`` reads folders, ``variants`` names rows, ``statistics`` draws samples of pairs, ``comparison`` joins them into
the ``tables`` that ``terminal``, ``documents``, ``exports`` and ``figures`` show and ``index`` keeps in the repository.
"""
