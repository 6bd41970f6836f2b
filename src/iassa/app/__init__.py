"""The live page: one server on this machine, which shows a map while it is made.

In: models, folders to browse, and the requests of a browser.
Out: one page, its pictures, and the files that `iassa explain` writes. `serving` is the server.
"""
