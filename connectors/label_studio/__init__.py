"""Label Studio as a labeler: never an image twice, never an answer lost.

``client``  requests, tokens, retries of reads     ``config``  label config from classes
``images``  how the browser gets the pictures      ``labeler`` the Labeler itself

Measured facts behind the rules (Label Studio 1.23.2, SDK 2.0.19 and 2.1.2): an import is all or
nothing, has no de-duplication, and the SDK repeats it after a lost answer; task ids are reused;
incremental reading by offset loses rows while people annotate.
"""

from connectors.label_studio.labeler import LabelStudio

__all__ = ["LabelStudio"]
