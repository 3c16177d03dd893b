"""Model files on disk: which there are, what each holds, what ``setup`` recorded of them.

``layout`` names the files; ``index``, ``statistics``, ``scaler`` and ``manifest`` read one each, ``weight_files`` the
weights; ``architecture`` tells which network those are, ``inventory`` which file holds which property. Start with
``directory.ArtifactDirectory``, through which everything else reads artifacts.
"""
