"""Many images at once: their explanations, and a page to look at them.

In: a folder of images, a black box, and what to do with each image; workers share it out.
Out: a saved explanation for each image, and `index.html`, which shows all of them.
"""
