"""Tests of the clients, against the server of this checkout and against servers whose responses they write."""
