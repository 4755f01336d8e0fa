"""lowres: does a recurrent LM or a transformer transfer better for your language, and how sure are we?"""

__version__ = "0.1.0"
