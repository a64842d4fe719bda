"""Sample data: the same believable people and companies from the same seed, related to each other."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from farebox.crm.catalogue_crm import INDUSTRY, LEAD_SOURCE
from farebox.crm.organisations import Organisation, UserSeed
from farebox.crm.records import INSERT_RECORD, comparable, display_name
from farebox.crm.schema import Module
from farebox.crm.store import Store

YEAR_S = 365 * 24 * 3_600

_words = str.split

FIRST_NAMES = _words(
    "Amara Ben Carla Deepak Elena Farid Greta Hiro Ines Jonas Kavya Liam Maya Noor Oscar Priya Quentin Rosa "
    "Samir Tara Umar Vera Wei Ximena Yusuf Zoe Anders Bianca Chidi Dora Emil Fatima Gabriel Hanna Ivan Julia "
    "Kofi Leila Mateo Nadia"
)
LAST_NAMES = _words(
    "Adeyemi Bauer Castillo Das Eriksson Fischer Gupta Hoffmann Ibrahim Jensen Kowalski Lopez Moreau Nguyen "
    "Okafor Patel Quinn Rossi Schneider Tanaka Usman Vasquez Weber Xu Yamamoto Zhang Andersson Brown Chen Dubois "
    "Evans Fernandez Garcia Haddad Iyer Johansson Keller Larsen Meyer Novak"
)
COMPANY_FIRST = _words(
    "Alpine Bluewater Cedar Delta Evergreen Falcon Granite Harbor Indigo Juniper Keystone Lakeside Meridian "
    "Northwind Orchard Pinnacle Quarry Riverbend Summit Timberline Union Vertex Westgate Yellowstone Zenith"
)
COMPANY_SECOND = _words(
    "Foods Logistics Textiles Robotics Energy Medical Printing Optics Furniture Software Ceramics Motors Travel "
    "Analytics Gardens Plastics Security Media Instruments Outfitters"
)
COMPANY_LAST = ("Inc", "Ltd", "GmbH", "LLC", "AG", "Partners", "Group", "& Sons")
CITIES = (
    ("Austin", "Texas", "78701"),
    ("Denver", "Colorado", "80202"),
    ("Portland", "Oregon", "97204"),
    ("Boston", "Massachusetts", "02108"),
    ("Chicago", "Illinois", "60601"),
    ("Atlanta", "Georgia", "30303"),
    ("Seattle", "Washington", "98101"),
)
STREETS = ("Maple Street", "Oak Avenue", "Harbor Road", "Mill Lane", "Station Road", "Cedar Court")
TITLES = ("Buyer", "Head of Operations", "CFO", "IT Manager", "Sales Director", "Office Manager", "Founder")
PRODUCTS = ("licences", "rollout", "renewal", "pilot", "support plan", "expansion", "training")
STAGES = (
    "Qualification",
    "Needs Analysis",
    "Proposal/Price Quote",
    "Negotiation/Review",
    "Closed Won",
    "Closed Lost",
)

Values = dict[str, Any]


def people(count: int, *, organisation: str) -> list[UserSeed]:
    """`count` active users with made-up names at a made-up domain of the organisation."""
    domain = "".join(letter for letter in organisation.lower() if letter.isascii() and letter.isalnum()) or "org"
    seeds = []
    for number in range(count):
        first = FIRST_NAMES[number % len(FIRST_NAMES)]
        last = LAST_NAMES[(number * 7 + number // len(FIRST_NAMES)) % len(LAST_NAMES)]
        mark = "" if number < len(FIRST_NAMES) else str(number)
        email = f"{first}.{last}{mark}@{domain}.example".lower()
        seeds.append(UserSeed(email=email, first_name=first, last_name=last + mark, admin=number == 0))
    return seeds


def fill(store: Store, organisation: Organisation, *, user_ids: Sequence[int], count: int, seed: int) -> None:
    """`count` records each in the organisation's main modules; the contents depend on `seed` only."""
    maker = _Maker(random.Random(seed), store.now())
    deals = "Pipelines" if organisation.product == "bigin" else "Deals"
    with store.transaction():
        writer = _Writer(store, organisation, user_ids, maker.chance)
        accounts = writer.write("Accounts", [maker.account(n) for n in range(count)])
        contacts = writer.write("Contacts", [maker.contact(n, accounts) for n in range(count)])
        writer.write(deals, [maker.deal(n, accounts, contacts) for n in range(count)])
        if "Leads" in organisation.catalogue:
            writer.write("Leads", [maker.lead(n) for n in range(count)])


class _Maker:
    """The values of one record after the other."""

    def __init__(self, chance: random.Random, now: int) -> None:
        self.chance = chance
        self._today = datetime.fromtimestamp(now, UTC).date()

    def account(self, number: int) -> Values:
        name = self._company(number)
        city, state, code = self.chance.choice(CITIES)
        return {
            "Account_Name": name,
            "Phone": self._phone(),
            "Website": f"https://www.{_slug(name)}.example",
            "Industry": self.chance.choice(INDUSTRY.choices[1:]),
            "Account_Type": self.chance.choice(("Customer", "Prospect", "Partner", "Reseller")),
            "Employees": self.chance.randint(3, 4_000),
            "Annual_Revenue": self.chance.randint(50, 90_000) * 1_000,
            "Billing_Street": self._street(),
            "Billing_City": city,
            "Billing_State": state,
            "Billing_Code": code,
            "Billing_Country": "United States",
        }

    def contact(self, number: int, accounts: Sequence[int]) -> Values:
        person = self._person(number, "contact")
        city, state, code = self.chance.choice(CITIES)
        return {
            **person,
            "Title": self.chance.choice(TITLES),
            "Account_Name": accounts[number * 7 % len(accounts)],
            "Lead_Source": self.chance.choice(LEAD_SOURCE.choices[1:]),
            "Mailing_Street": self._street(),
            "Mailing_City": city,
            "Mailing_State": state,
            "Mailing_Zip": code,
            "Mailing_Country": "United States",
        }

    def deal(self, number: int, accounts: Sequence[int], contacts: Sequence[int]) -> Values:
        contact = number * 11 % len(contacts)
        closing = self._today + timedelta(days=self.chance.randint(-180, 180))
        amount = self.chance.randint(5, 2_500) * 100
        return {
            "Deal_Name": f"{self._company(contact * 7 % len(accounts))} {self.chance.choice(PRODUCTS)} {number + 1}",
            "Account_Name": accounts[contact * 7 % len(accounts)],
            "Contact_Name": contacts[contact],
            "Amount": amount,
            "Stage": self.chance.choice(STAGES),
            "Closing_Date": closing.isoformat(),
            "Probability": self.chance.choice((10, 20, 40, 60, 75, 90)),
        }

    def lead(self, number: int) -> Values:
        city, state, code = self.chance.choice(CITIES)
        return {
            **self._person(number, "lead"),
            "Company": self._company(number * 3 + 1),
            "Designation": self.chance.choice(TITLES),
            "Lead_Source": self.chance.choice(LEAD_SOURCE.choices[1:]),
            "Lead_Status": self.chance.choice(("Not Contacted", "Contacted", "Attempted to Contact", "Junk Lead")),
            "Industry": self.chance.choice(INDUSTRY.choices[1:]),
            "No_of_Employees": self.chance.randint(3, 4_000),
            "Annual_Revenue": self.chance.randint(50, 90_000) * 1_000,
            "Street": self._street(),
            "City": city,
            "State": state,
            "Zip_Code": code,
            "Country": "United States",
        }

    def _person(self, number: int, role: str) -> Values:
        first = self.chance.choice(FIRST_NAMES)
        last = self.chance.choice(LAST_NAMES)
        email = f"{first}.{last}.{role}{number + 1}@mail.example".lower()
        return {
            "First_Name": first,
            "Last_Name": last,
            "Email": email,
            "Phone": self._phone(),
            "Mobile": self._phone(),
        }

    def _company(self, number: int) -> str:
        first = COMPANY_FIRST[number % len(COMPANY_FIRST)]
        rest = number // len(COMPANY_FIRST)
        second = COMPANY_SECOND[rest % len(COMPANY_SECOND)]
        rest //= len(COMPANY_SECOND)
        last = COMPANY_LAST[rest % len(COMPANY_LAST)]
        rest //= len(COMPANY_LAST)
        return f"{first} {second} {last}" if rest == 0 else f"{first} {second} {last} {rest + 1}"

    def _phone(self) -> str:
        return f"+1 555 {self.chance.randint(100, 999)} {self.chance.randint(1_000, 9_999)}"

    def _street(self) -> str:
        return f"{self.chance.randint(1, 990)} {self.chance.choice(STREETS)}"


class _Writer:
    """Many records at once: what a call per record would store, without its checks."""

    def __init__(
        self, store: Store, organisation: Organisation, user_ids: Sequence[int], chance: random.Random
    ) -> None:
        self._store = store
        self._organisation = organisation
        self._user_ids = user_ids
        self._chance = chance

    def write(self, module_name: str, all_values: Sequence[Values]) -> list[int]:
        """The ids of the new records, made evenly over the past year."""
        module = self._organisation.catalogue[module_name]
        zgid = self._organisation.zgid
        now = self._store.now()
        with self._store.transaction() as db:
            sql = "SELECT next_serial FROM organisation WHERE zgid = ?"
            serial = db.execute(sql, (zgid,)).fetchone()[0]
            ids = [self._organisation.full_id(serial + n) for n in range(len(all_values))]
            rows = []
            for n, (record_id, values) in enumerate(zip(ids, all_values, strict=True)):
                owner = self._chance.choice(self._user_ids)
                created = now - YEAR_S + YEAR_S * n // len(all_values)
                body = msgspec.json.encode(values).decode()
                name = display_name(module, values)
                rows.append(
                    (record_id, zgid, module_name, name, owner, owner, owner, created, created, body),
                )
            db.executemany(INSERT_RECORD, rows)
            db.executemany(
                "INSERT INTO field_value VALUES (?, ?, ?, ?, ?)",
                _indexed(zgid, module, ids, all_values),
            )
            sql = "UPDATE organisation SET next_serial = next_serial + ? WHERE zgid = ?"
            db.execute(sql, (len(ids), zgid))
        return ids


def _indexed(
    zgid: int, module: Module, ids: Sequence[int], all_values: Sequence[Values]
) -> list[tuple[int, str, str, str, int]]:
    return [
        (zgid, module.api_name, field, comparable(values[field]), record_id)
        for record_id, values in zip(ids, all_values, strict=True)
        for field in module.indexed_fields
        if values.get(field) is not None
    ]


def _slug(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
