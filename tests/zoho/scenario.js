// What an integration does with the Node SDK once it is initialised: who am I, insert, list, get.

const asked = new zoho.ParameterMap();
await asked.add(zoho.Users.GetUsersParam.TYPE, "CurrentUser");
const user = (await new zoho.Users.UsersOperations().getUsers(asked, new zoho.HeaderMap())).getObject().getUsers()[0];

const lead = new zoho.Record.Record();
lead.addFieldValue(zoho.Record.Field.Leads.LAST_NAME, "From Node");
const body = new zoho.Record.BodyWrapper();
body.setData([lead]);
const leads = new zoho.Record.RecordOperations("Leads");
const made = await leads.createRecords(body, new zoho.HeaderMap());
const id = made.getObject().getData()[0].getDetails().get("id");

const fields = new zoho.ParameterMap();
await fields.add(zoho.Record.GetRecordsParam.FIELDS, "Last_Name");
const listed = await leads.getRecords(fields, new zoho.HeaderMap());
const one = await leads.getRecord(BigInt(id), new zoho.ParameterMap(), new zoho.HeaderMap());

console.log(
  JSON.stringify({
    user: String(user.getId()),
    made: made.getStatusCode(),
    listed: listed.getObject().getData().map((record) => record.getKeyValue("Last_Name")),
    one: one.getObject().getData()[0].getKeyValue("Last_Name"),
  })
);
process.exit(0);
