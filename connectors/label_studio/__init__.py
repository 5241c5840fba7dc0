"""Label Studio as a labeler: never an image twice, never an answer lost.

=================  =================================================================
``labeler``        the Labeler: one project of one server
``project``        the project: found or made, its label config kept fit
``search``         which projects of the server are ours
``config``         the label config: one image, one choice
``tasks``          tasks page by page, and the fields by which we know ours
``push``           one import per batch, and what is there of it
``images``         how the browser gets a picture: upload, the server's disk, a URL
``predictions``    guesses on tasks
``task_images``    a project as the pool: its tasks' images, and labels from before
``pool_labeler``   the Labeler of such a project: picks are marks, people get them by a tab
``marks``          empty predictions whose model version names round and place
``tabs``           tabs of the Data Manager
``look_again``     tasks open to one more person, in a tab
``pictures``       the bytes behind an address in a task
``copies``         several tasks of one image; untouched ones are removed
``pull``           annotations changed since a cursor
``annotation``     one annotation: an answer, or odd
``people``         names of those who annotate
``answers``        types of all that the server says, checked once
``client``         requests: reads are repeated, writes are not
``http``           bounds of time and size, no redirect
``access``         tokens and the header they go in
``errors``         our errors for what a server does
=================  =================================================================

Measured facts behind the rules (Label Studio 1.23.2, SDK 2.0.19 and 2.1.2): an import is all or
nothing, has no de-duplication, and the SDK repeats it after a lost answer; task ids are reused;
incremental reading by offset loses rows while people annotate.
"""

from connectors.label_studio.labeler import LabelStudio

__all__ = ["LabelStudio"]
