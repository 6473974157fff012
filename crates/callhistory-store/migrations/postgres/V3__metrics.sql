-- PostgreSQL counts from its indexes; the embedded engine has tables of its own for that.
SELECT 1;
