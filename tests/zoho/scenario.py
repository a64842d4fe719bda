"""What an integration does with the Python SDK once it is initialised: who am I, insert, list, get, upload."""

import json
import sys

from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.bulk_write import BulkWriteOperations, FileBodyWrapper, UploadFileHeader
from zohocrmsdk.src.com.zoho.crm.api.record import BodyWrapper, Field, GetRecordsParam, Record, RecordOperations
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations
from zohocrmsdk.src.com.zoho.crm.api.util import StreamWrapper


def main(upload: str) -> None:
    asked = ParameterMap()
    asked.add(GetUsersParam.type, "CurrentUser")
    user = UsersOperations().get_users(asked, HeaderMap()).get_object().get_users()[0]
    lead = Record()
    lead.add_field_value(Field.Leads.last_name(), "From Python")
    body = BodyWrapper()
    body.set_data([lead])
    leads = RecordOperations("Leads")
    made = leads.create_records(body, HeaderMap())
    record_id = made.get_object().get_data()[0].get_details()["id"]
    fields = ParameterMap()
    fields.add(GetRecordsParam.fields, "Last_Name")
    listed = leads.get_records(fields, HeaderMap())
    one = leads.get_record(int(record_id), ParameterMap(), HeaderMap())
    file = FileBodyWrapper()
    file.set_file(StreamWrapper(file_path=upload))
    headers = HeaderMap()
    headers.add(UploadFileHeader.feature, "bulk-write")
    headers.add(UploadFileHeader.x_crm_org, "1")
    uploaded = BulkWriteOperations().upload_file(file, headers)
    report = {
        "user": user.get_id(),
        "made": made.get_status_code(),
        "listed": [record.get_key_value("Last_Name") for record in listed.get_object().get_data()],
        "one": one.get_object().get_data()[0].get_key_value("Last_Name"),
        "left": listed.get_headers().get("X-Farebox-Credits-Left"),
        "uploaded": uploaded.get_object().get_details()["file_id"],
    }
    sys.stdout.write(json.dumps(report, default=str))


if __name__ == "__main__":
    main(sys.argv[1])
