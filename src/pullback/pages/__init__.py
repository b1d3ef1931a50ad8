"""Self-contained pages: one HTML file with drawing, tables and steps, that needs no network.

:mod:`document` is the frame of every page, :mod:`layout` places the nodes of a graph,
:mod:`drawing` draws it, :mod:`charts` draws curves, heat maps and bars. What a page shows is
written beside the object that it shows (``explanation/page.py``, ...), from the data that its
JSON has.
"""

from pullback.pages.document import Section, document, save

__all__ = ["Section", "document", "save"]
