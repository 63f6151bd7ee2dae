"""What a test has found, as pages for people: report.html of one run, compare.html of several."""
