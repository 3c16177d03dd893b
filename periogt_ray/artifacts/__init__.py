"""Model files on disk: which there are, what each holds, what ``setup`` recorded of them.

Start with ``directory.ArtifactDirectory``, through which everything else reads artifacts.
"""
