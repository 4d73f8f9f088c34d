"""The page that shows the test pairs of a report's runs: its columns, and its assets."""
