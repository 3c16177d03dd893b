"""The one reader of tables: CSV in its many forms, and Parquet.

``reading`` is where to start: it looks at a file, makes a plain copy where the file needs one (``plain_copy``,
``parquet_table``), and scans it. ``text_format`` says what a file is: encoding, delimiter, or why it cannot be read.
``columns`` finds the column of SMILES and the one of ids, by the names in ``web/table_rules.json``, which the page
uses, too. ``csv_table`` scans a plain CSV into parts, which any worker reads without the others. ``parts`` says what a
part is and how large.
"""
