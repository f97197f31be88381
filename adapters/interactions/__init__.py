"""The Interactions API of Gemini: one call makes a picture out of steps and contents.

``client`` is the face callers see, ``provider`` what we send, ``shapes`` what they share. Nothing here may know any
model.
"""
