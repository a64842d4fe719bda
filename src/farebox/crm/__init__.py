"""The reference CRM API: a Zoho CRM v8 and Bigin v2 dialect on SQLite, knowing nothing of credits.

Start with `app.create_app`; provision with `provision.create_organisation`.
"""
