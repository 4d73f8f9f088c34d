"""Tables and pictures of finished runs.

``gather`` reads the runs, ``variants`` names the rows, ``comparison`` computes the ``tables`` with ``statistics``.
``terminal``, ``documents`` and ``figures`` render them, ``publishing`` writes them. ``keeping`` stores tables in the
repository.
"""
