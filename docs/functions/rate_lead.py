"""Rates a lead by what is known of it and writes the rating down: an example of a function of the reference CRM API.

    curl -X POST "$URL/crm/v8/functions/rate_lead/actions/execute?auth_type=oauth" \
        -H "Authorization: Zoho-oauthtoken $TOKEN" -d 'arguments={"lead_id": "3652397000000261048"}'
"""

KNOWN = ("Email", "Phone", "Company", "Industry")
RATINGS = ("Shut Down", "Market Failed", "Active", "Active", "Acquired")


def run(crm, lead_id):
    """The rating it was given; two API calls, getRecordById and updateRecord."""
    lead = crm.getRecordById("Leads", lead_id)
    known = [field for field in KNOWN if lead.get(field)]
    rating = RATINGS[len(known)]
    crm.updateRecord("Leads", lead_id, {"Rating": rating})
    print(f"{lead['Last_Name']}: {', '.join(known) or 'nothing'} known")
    return rating
