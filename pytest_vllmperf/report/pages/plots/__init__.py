"""The plots of a page, a module a subject: each a `Figure` out of records, or None where there is nothing to see."""
