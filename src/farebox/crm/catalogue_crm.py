"""The modules of a CRM organisation as one long table: fields, data types, picklists, what is mandatory.

Sources: Zoho CRM v7 insert-records (mandatory fields, field limits) and upsert-records (check fields);
the picklists are those of a freshly made organisation. A wrong line is corrected here and nowhere else.
"""

from farebox.crm.schema import ANY_MODULE, Catalogue, DataType, Field, Module, make_field, make_module

_T = DataType


def _picklist(api_name: str, choices: str, *, mandatory: bool = False) -> Field:
    return make_field(api_name, _T.PICKLIST, choices=("-None-", *choices.split("|")), mandatory=mandatory)


def _address(prefix: str) -> tuple[Field, ...]:
    return tuple(
        make_field(f"{prefix}_{part}" if prefix else part, length=length)
        for part, length in (("Street", 250), ("City", 100), ("State", 100), ("Code", 30), ("Country", 100))
    )


SALUTATION = _picklist("Salutation", "Mr.|Mrs.|Ms.|Dr.|Prof.")
LEAD_SOURCE = _picklist(
    "Lead_Source",
    "Advertisement|Cold Call|Employee Referral|External Referral|Online Store|Partner|Public Relations|"
    "Sales Email Alias|Seminar Partner|Internal Seminar|Trade Show|Web Download|Web Research|Chat",
)
INDUSTRY = _picklist(
    "Industry",
    "ASP (Application Service Provider)|Data/Telecom OEM|ERP (Enterprise Resource Planning)|"
    "Government/Military|Large Enterprise|ManagementISV|MSP (Management Service Provider)|"
    "Network Equipment Enterprise|Non-management ISV|Optical Networking|Service Provider|"
    "Small/Medium Enterprise|Storage Equipment|Storage Service Provider|Systems Integrator|Wireless Industry",
)
RATING = _picklist("Rating", "Acquired|Active|Market Failed|Project Cancelled|Shut Down")
DESCRIPTION = make_field("Description", _T.TEXTAREA)
PRIORITY = _picklist("Priority", "High|Highest|Low|Lowest|Normal")
EMAIL_OPT_OUT = make_field("Email_Opt_Out", _T.BOOLEAN)
WHO = make_field("Who_Id", _T.LOOKUP, target="Contacts", label="Contact Name")
WHAT = make_field("What_Id", _T.LOOKUP, target=ANY_MODULE, label="Related To")
FULL_NAME = make_field("Full_Name", length=120, read_only=True)

LEADS = make_module(
    "Leads",
    number=1,
    name=("First_Name", "Last_Name"),
    check="Email",
    fields=(
        SALUTATION,
        make_field("First_Name", length=40),
        make_field("Last_Name", length=80, mandatory=True),
        FULL_NAME,
        make_field("Company", length=200),
        make_field("Designation", length=100, label="Title"),
        make_field("Email", _T.EMAIL),
        make_field("Secondary_Email", _T.EMAIL),
        make_field("Phone", _T.PHONE),
        make_field("Mobile", _T.PHONE),
        make_field("Fax", _T.PHONE),
        make_field("Website", _T.WEBSITE),
        LEAD_SOURCE,
        _picklist(
            "Lead_Status",
            "Attempted to Contact|Contact in Future|Contacted|Junk Lead|Lost Lead|Not Contacted|"
            "Pre-Qualified|Not Qualified",
        ),
        INDUSTRY,
        RATING,
        make_field("No_of_Employees", _T.INTEGER, label="No. of Employees"),
        make_field("Annual_Revenue", _T.CURRENCY),
        make_field("Street", length=250),
        make_field("City", length=100),
        make_field("State", length=100),
        make_field("Zip_Code", length=30),
        make_field("Country", length=100),
        EMAIL_OPT_OUT,
        make_field("Skype_ID", length=50),
        make_field("Twitter", length=50),
        DESCRIPTION,
    ),
)

CONTACTS = make_module(
    "Contacts",
    number=2,
    name=("First_Name", "Last_Name"),
    check="Email",
    fields=(
        SALUTATION,
        make_field("First_Name", length=40),
        make_field("Last_Name", length=80, mandatory=True),
        FULL_NAME,
        make_field("Account_Name", _T.LOOKUP, target="Accounts"),
        make_field("Vendor_Name", _T.LOOKUP, target="Vendors"),
        make_field("Title", length=100),
        make_field("Department", length=50),
        make_field("Email", _T.EMAIL),
        make_field("Secondary_Email", _T.EMAIL),
        make_field("Phone", _T.PHONE),
        make_field("Mobile", _T.PHONE),
        make_field("Home_Phone", _T.PHONE),
        make_field("Other_Phone", _T.PHONE),
        make_field("Fax", _T.PHONE),
        make_field("Assistant", length=80),
        make_field("Reporting_To", _T.LOOKUP, target="Contacts"),
        LEAD_SOURCE,
        make_field("Date_of_Birth", _T.DATE),
        *_address("Mailing")[:3],
        make_field("Mailing_Zip", length=30),
        make_field("Mailing_Country", length=100),
        EMAIL_OPT_OUT,
        make_field("Skype_ID", length=50),
        make_field("Twitter", length=50),
        DESCRIPTION,
    ),
)

ACCOUNTS = make_module(
    "Accounts",
    number=3,
    name=("Account_Name",),
    check="Account_Name",
    fields=(
        make_field("Account_Name", length=200, mandatory=True),
        make_field("Account_Number", _T.BIGINT),
        make_field("Account_Site", length=80),
        make_field("Parent_Account", _T.LOOKUP, target="Accounts"),
        _picklist(
            "Account_Type",
            "Analyst|Competitor|Customer|Distributor|Integrator|Investor|Other|Partner|Press|Prospect|"
            "Reseller|Supplier|Vendor",
        ),
        INDUSTRY,
        RATING,
        _picklist("Ownership", "Other|Private|Public|Subsidiary|Partnership|Government|Privately Held"),
        make_field("Phone", _T.PHONE),
        make_field("Fax", _T.PHONE),
        make_field("Website", _T.WEBSITE),
        make_field("Ticker_Symbol", length=30),
        make_field("Employees", _T.INTEGER),
        make_field("Annual_Revenue", _T.CURRENCY),
        make_field("SIC_Code", _T.INTEGER),
        *_address("Billing"),
        *_address("Shipping"),
        DESCRIPTION,
    ),
)

DEALS = make_module(
    "Deals",
    number=4,
    name=("Deal_Name",),
    check="Deal_Name",
    fields=(
        make_field("Deal_Name", length=120, mandatory=True),
        make_field("Account_Name", _T.LOOKUP, target="Accounts"),
        make_field("Contact_Name", _T.LOOKUP, target="Contacts"),
        make_field("Amount", _T.CURRENCY),
        make_field("Closing_Date", _T.DATE),
        _picklist("Pipeline", "Standard (Standard)"),
        _picklist(
            "Stage",
            "Qualification|Needs Analysis|Value Proposition|Identify Decision Makers|Proposal/Price Quote|"
            "Negotiation/Review|Closed Won|Closed Lost|Closed Lost to Competition",
            mandatory=True,
        ),
        _picklist("Type", "Existing Business|New Business"),
        make_field("Probability", _T.INTEGER, label="Probability (%)"),
        make_field("Expected_Revenue", _T.CURRENCY),
        make_field("Next_Step", length=100),
        LEAD_SOURCE,
        make_field("Campaign_Source", _T.LOOKUP, target="Campaigns"),
        DESCRIPTION,
    ),
)

TASKS = make_module(
    "Tasks",
    number=5,
    name=("Subject",),
    fields=(
        make_field("Subject", mandatory=True),
        make_field("Due_Date", _T.DATE),
        WHO,
        WHAT,
        _picklist("Status", "Not Started|Deferred|In Progress|Completed|Waiting for input"),
        PRIORITY,
        make_field("Closed_Time", _T.DATETIME, read_only=True),
        make_field("Send_Notification_Email", _T.BOOLEAN),
        DESCRIPTION,
    ),
)

EVENTS = make_module(
    "Events",
    number=6,
    name=("Event_Title",),
    singular="Meeting",
    plural="Meetings",
    fields=(
        make_field("Event_Title", mandatory=True, label="Title"),
        make_field("Start_DateTime", _T.DATETIME, mandatory=True, label="From"),
        make_field("End_DateTime", _T.DATETIME, mandatory=True, label="To"),
        make_field("All_day", _T.BOOLEAN),
        make_field("Venue", label="Location"),
        WHO,
        WHAT,
        make_field("Check_In_Time", _T.DATETIME, read_only=True),
        DESCRIPTION,
    ),
)

CALLS = make_module(
    "Calls",
    number=7,
    name=("Subject",),
    fields=(
        make_field("Subject", mandatory=True),
        _picklist("Call_Type", "Outbound|Inbound|Missed", mandatory=True),
        make_field("Call_Start_Time", _T.DATETIME, mandatory=True),
        make_field("Call_Duration", length=20, mandatory=True),
        make_field("Call_Duration_in_seconds", _T.INTEGER),
        _picklist("Call_Purpose", "Prospecting|Administrative|Negotiation|Demo|Project|Desk"),
        _picklist("Call_Result", "Interested|Not interested|No response/Busy|Requested more info|Requested call back"),
        _picklist("Call_Status", "Scheduled|Completed|Overdue|Cancelled"),
        WHO,
        WHAT,
        DESCRIPTION,
    ),
)

PRODUCTS = make_module(
    "Products",
    number=8,
    name=("Product_Name",),
    check="Product_Name",
    fields=(
        make_field("Product_Name", length=200, mandatory=True),
        make_field("Product_Code", length=40),
        make_field("Product_Active", _T.BOOLEAN),
        make_field("Vendor_Name", _T.LOOKUP, target="Vendors"),
        _picklist("Product_Category", "Hardware|Software|CRM Applications"),
        _picklist("Manufacturer", "AltvetPet Inc.|LexPon Inc.|MetBeat Corp."),
        make_field("Sales_Start_Date", _T.DATE),
        make_field("Sales_End_Date", _T.DATE),
        make_field("Support_Start_Date", _T.DATE),
        make_field("Unit_Price", _T.CURRENCY),
        make_field("Commission_Rate", _T.CURRENCY),
        make_field("Taxable", _T.BOOLEAN),
        _picklist("Usage_Unit", "Box|Carton|Dozen|Each|Hours|Impressions|Lb|M|Pack|Pages|Pieces|Quantity|Reams"),
        make_field("Qty_in_Stock", _T.DOUBLE, label="Quantity in Stock"),
        make_field("Qty_Ordered", _T.DOUBLE),
        make_field("Reorder_Level", _T.DOUBLE),
        DESCRIPTION,
    ),
)


LINE_ITEM_FIELDS = (
    make_field("Product_Name", _T.LOOKUP, target="Products", mandatory=True),
    make_field("Quantity", _T.DOUBLE, mandatory=True),
    make_field("List_Price", _T.CURRENCY),
    make_field("Discount", _T.CURRENCY),
    make_field("Tax", _T.CURRENCY),
    make_field("Total", _T.CURRENCY),
    make_field("Description", _T.TEXTAREA, length=2_000),
)


def _lines(api_name: str, *, number: int, fields: tuple[Field, ...] = LINE_ITEM_FIELDS) -> Module:
    return make_module(api_name, number=number, name=(fields[0].api_name,), fields=fields, generated_type="subform")


def _inventory(api_name: str, *, number: int, items: str, statuses: str, own: tuple[Field, ...]) -> Module:
    return make_module(
        api_name,
        number=number,
        name=("Subject",),
        check="Subject",
        fields=(
            make_field("Subject", mandatory=True),
            *own,
            _picklist("Status", statuses),
            make_field(items, _T.SUBFORM, target=items, mandatory=True),
            make_field("Sub_Total", _T.CURRENCY),
            make_field("Adjustment", _T.CURRENCY),
            make_field("Grand_Total", _T.CURRENCY),
            *_address("Billing"),
            make_field("Terms_and_Conditions", _T.TEXTAREA),
            DESCRIPTION,
        ),
    )


CUSTOMER_FIELDS = (
    make_field("Account_Name", _T.LOOKUP, target="Accounts"),
    make_field("Contact_Name", _T.LOOKUP, target="Contacts"),
    make_field("Deal_Name", _T.LOOKUP, target="Deals"),
)

INVENTORY = (
    _inventory(
        "Quotes",
        number=9,
        items="Quoted_Items",
        statuses="Draft|Negotiation|Delivered|On Hold|Confirmed|Closed Won|Closed Lost",
        own=(*CUSTOMER_FIELDS, make_field("Valid_Till", _T.DATE)),
    ),
    _inventory(
        "Sales_Orders",
        number=10,
        items="Ordered_Items",
        statuses="Created|Approved|Delivered|Cancelled",
        own=(*CUSTOMER_FIELDS, make_field("SO_Number", _T.AUTONUMBER, read_only=True), make_field("Due_Date", _T.DATE)),
    ),
    _inventory(
        "Purchase_Orders",
        number=11,
        items="Purchased_Items",
        statuses="Created|Approved|Delivered|Cancelled",
        own=(
            make_field("Vendor_Name", _T.LOOKUP, target="Vendors", mandatory=True),
            make_field("PO_Number", length=100),
            make_field("PO_Date", _T.DATE),
        ),
    ),
    _inventory(
        "Invoices",
        number=12,
        items="Invoiced_Items",
        statuses="Created|Approved|Delivered|Cancelled",
        own=(
            *CUSTOMER_FIELDS,
            make_field("Invoice_Number", _T.AUTONUMBER, read_only=True),
            make_field("Invoice_Date", _T.DATE),
            make_field("Due_Date", _T.DATE),
        ),
    ),
    _lines("Quoted_Items", number=40),
    _lines("Ordered_Items", number=41),
    _lines("Purchased_Items", number=42),
    _lines("Invoiced_Items", number=43),
)

PRICE_BOOKS = (
    make_module(
        "Price_Books",
        number=13,
        name=("Price_Book_Name",),
        check="Price_Book_Name",
        fields=(
            make_field("Price_Book_Name", length=120, mandatory=True),
            make_field("Active", _T.BOOLEAN),
            _picklist("Pricing_Model", "Flat|Differential"),
            make_field("Pricing_Details", _T.SUBFORM, target="Pricing_Details", mandatory=True),
            DESCRIPTION,
        ),
    ),
    _lines(
        "Pricing_Details",
        number=44,
        fields=(
            make_field("from_range", _T.DOUBLE, mandatory=True),
            make_field("to_range", _T.DOUBLE, mandatory=True),
            make_field("discount", _T.DOUBLE),
        ),
    ),
)

CAMPAIGNS = make_module(
    "Campaigns",
    number=14,
    name=("Campaign_Name",),
    check="Campaign_Name",
    fields=(
        make_field("Campaign_Name", length=120, mandatory=True),
        _picklist(
            "Type",
            "Conference|Webinar|Trade Show|Public Relations|Partners|Referral Program|Advertisement|"
            "Banner Ads|Direct mail|Email|Telemarketing|Others",
        ),
        _picklist("Status", "Planning|Active|Inactive|Complete"),
        make_field("Start_Date", _T.DATE),
        make_field("End_Date", _T.DATE),
        make_field("Expected_Revenue", _T.CURRENCY),
        make_field("Budgeted_Cost", _T.CURRENCY),
        make_field("Actual_Cost", _T.CURRENCY),
        make_field("Expected_Response", _T.BIGINT),
        make_field("Num_sent", _T.BIGINT),
        DESCRIPTION,
    ),
)

VENDORS = make_module(
    "Vendors",
    number=15,
    name=("Vendor_Name",),
    check="Vendor_Name",
    fields=(
        make_field("Vendor_Name", length=120, mandatory=True),
        make_field("Phone", _T.PHONE),
        make_field("Email", _T.EMAIL),
        make_field("Website", _T.WEBSITE),
        _picklist("GL_Account", "Sales-Software|Sales-Hardware|Rental Income|Interest Income|Purchases"),
        make_field("Category", length=40),
        *_address("")[:3],
        make_field("Zip_Code", length=30),
        make_field("Country", length=100),
        DESCRIPTION,
    ),
)

CASES = make_module(
    "Cases",
    number=16,
    name=("Subject",),
    check="Subject",
    fields=(
        make_field("Case_Number", _T.AUTONUMBER, read_only=True),
        make_field("Subject", mandatory=True),
        _picklist("Case_Origin", "Email|Phone|Web|Twitter|Facebook", mandatory=True),
        _picklist("Status", "New|On Hold|Escalated|Closed", mandatory=True),
        PRIORITY,
        _picklist("Type", "Problem|Feature Request|Question"),
        _picklist("Case_Reason", "User did not attend any training|Complex functionality|New problem"),
        make_field("Account_Name", _T.LOOKUP, target="Accounts"),
        make_field("Related_To", _T.LOOKUP, target="Contacts"),
        make_field("Deal_Name", _T.LOOKUP, target="Deals"),
        make_field("Product_Name", _T.LOOKUP, target="Products"),
        make_field("Reported_By", length=50),
        make_field("Email", _T.EMAIL),
        make_field("Phone", _T.PHONE),
        make_field("Internal_Comments", _T.TEXTAREA, length=3_000),
        make_field("Solution", _T.TEXTAREA),
        DESCRIPTION,
    ),
)

SOLUTIONS = make_module(
    "Solutions",
    number=17,
    name=("Solution_Title",),
    check="Solution_Title",
    fields=(
        make_field("Solution_Number", _T.AUTONUMBER, read_only=True),
        make_field("Solution_Title", mandatory=True),
        _picklist("Status", "Draft|Reviewed|Duplicate"),
        make_field("Product_Name", _T.LOOKUP, target="Products"),
        make_field("Question", _T.TEXTAREA),
        make_field("Answer", _T.TEXTAREA),
        make_field("Published", _T.BOOLEAN),
    ),
)

NOTES = make_module(
    "Notes",
    number=18,
    name=("Note_Title",),
    fields=(
        make_field("Note_Title", length=120),
        make_field("Note_Content", _T.TEXTAREA, mandatory=True),
        make_field("Parent_Id", _T.LOOKUP, target=ANY_MODULE, mandatory=True),
    ),
)

SUBSCRIPTIONS = make_module(
    "Subscriptions",
    number=30,
    name=("Name",),
    check="Name",
    generated_type="custom",
    fields=(
        make_field("Name", length=120, mandatory=True, label="Subscription Name"),
        make_field("Serial_Number", length=64, unique=True, custom=True),
        make_field("Account", _T.LOOKUP, target="Accounts", custom=True),
        make_field("Regions", _T.MULTISELECT, choices=("Africa", "Americas", "Asia", "Europe", "Oceania"), custom=True),
        make_field("Seats", _T.INTEGER, custom=True),
        make_field("Usage_Units", _T.BIGINT, custom=True),
        make_field("Monthly_Fee", _T.CURRENCY, custom=True),
        make_field("Discount", _T.PERCENT, custom=True),
        make_field("Starts_On", _T.DATE, custom=True),
        make_field("Renews_At", _T.DATETIME, custom=True),
        make_field("Auto_Renew", _T.BOOLEAN, custom=True),
        make_field("Billing_Email", _T.EMAIL, custom=True),
    ),
)

CRM: Catalogue = {
    module.api_name: module
    for module in (
        LEADS,
        CONTACTS,
        ACCOUNTS,
        DEALS,
        TASKS,
        EVENTS,
        CALLS,
        PRODUCTS,
        *INVENTORY[:4],
        PRICE_BOOKS[0],
        CAMPAIGNS,
        VENDORS,
        CASES,
        SOLUTIONS,
        NOTES,
        SUBSCRIPTIONS,
        *INVENTORY[4:],
        PRICE_BOOKS[1],
    )
}
"""The modules of a CRM organisation: standard ones, one custom module, then the subforms' rows."""
