"""The plots of a page, a module a subject: each makes a `Figure` out of records, or None where there is nothing to see."""
