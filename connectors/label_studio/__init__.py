"""Label Studio as a labeler: never an image twice, never an answer lost.

``client``   requests, retries of reads          ``access``       tokens
``project``  found or made, its label config     ``config``       label config from classes
``tasks``    pages of tasks                      ``images``       how the browser gets them
``push``     imports, copies                     ``predictions``  guesses on tasks
``pull``     annotations since a cursor          ``labeler``      the Labeler itself

Measured facts behind the rules (Label Studio 1.23.2, SDK 2.0.19 and 2.1.2): an import is all or
nothing, has no de-duplication, and the SDK repeats it after a lost answer; task ids are reused;
incremental reading by offset loses rows while people annotate.
"""

from connectors.label_studio.labeler import LabelStudio

__all__ = ["LabelStudio"]
