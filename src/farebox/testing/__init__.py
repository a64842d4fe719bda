"""What users' tests and our own run on: the reference CRM API in this process, a scripted upstream, pytest fixtures.

Nothing is imported here, so that the pytest plugin costs a test run nothing until a fixture is used.
"""
