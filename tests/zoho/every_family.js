// The API's families by Zoho's Node SDK; before each call stands what it costs.
//
// Usage: node every_family.js BASE_URL CLIENT_ID CLIENT_SECRET REFRESH_TOKEN DIRECTORY, with leads.zip in that directory.
// Prints, as one line of JSON, the calls that were made: operation, module and credits, as Zoho's page of API limits
// prices them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { inspect } from "node:util";
import { inflateRawSync } from "node:zlib";
import * as zoho from "@zohocrm/nodejs-sdk-8.0";

const WAIT_MS = 60_000;
const [base, clientId, secret, refreshToken, directory] = process.argv.slice(2);
const calls = [];

/** The next call is this one. */
const costs = (operation, module, credits) => calls.push([operation, module, credits]);

/** Before its first call on a module the SDK fetches the fields of it, and of what its look-ups lead to. */
const learns = (...modules) => modules.forEach((module) => costs("get_fields", module, 1));

const NONE = () => new zoho.ParameterMap();
const PLAIN = () => new zoho.HeaderMap();

/** Parameters and their values. */
async function params(...values) {
  const made = new zoho.ParameterMap();
  for (const [parameter, value] of values) await made.add(parameter, value);
  return made;
}

/** The SDK's object with these attributes. */
function filled(target, values) {
  for (const [name, value] of Object.entries(values)) target[`set${name[0].toUpperCase()}${name.slice(1)}`](value);
  return target;
}

/** A record of the SDK. */
function record(values, id) {
  const made = new zoho.Record.Record();
  if (id !== undefined) made.setId(BigInt(id));
  for (const [name, value] of Object.entries(values)) made.addKeyValue(name, value);
  return made;
}

/** What writes take. */
const body = (records, more = {}) => filled(new zoho.Record.BodyWrapper(), { data: records, ...more });

const leadsModule = () => {
  const module = new zoho.Modules.MinifiedModule();
  module.setAPIName("Leads");
  return module;
};

/** What the SDK understood of an answer that has the expected status and is no refusal. */
function seen(response, status = 200) {
  const found = response.getObject();
  assert.equal(response.getStatusCode(), status, shown(found));
  assert.ok(!found?.constructor.name.includes("APIException"), shown(found));
  return found;
}

/** Code and details of a refusal. */
const shown = (found) =>
  found?.getCode ? inspect([found.getCode().getValue(), found.getDetails()]) : inspect(found);

/** The details of every record's result, all of which must be good. */
function each(response, status = 200) {
  return seen(response, status).getData().map((result) => {
    assert.equal(result.constructor.name, "SuccessResponse", shown(result));
    return result.getDetails();
  });
}

/** Ask for a job's state until it is done; each time costs a credit. */
async function poll(job, { operation, module = "", until }) {
  for (const deadline = Date.now() + WAIT_MS; ; ) {
    costs(operation, module, 1);
    const found = await job();
    if (until(found)) return found;
    assert.ok(Date.now() < deadline, operation);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// ------------------------------------------------------------------------------------------------ the beginning

async function initialise() {
  const builder = await new zoho.InitializeBuilder();
  builder.environment(new zoho.Environment(base, `${base}/oauth/v2/token`, base));
  builder.token(new zoho.OAuthBuilder().clientId(clientId).clientSecret(secret).refreshToken(refreshToken).build());
  builder.store(new zoho.FileStore(`${directory}/tokens.csv`));
  builder.resourcePath(`${directory}/`); // with the stroke: for related lists the SDK itself puts none in between
  await builder.initialize();
  costs("get_users", "users", 1); // who am I, and in which organisation: the SDK asks before its first call
  costs("get_organisation", "org", 1);
}

async function usersAndOrganisation() {
  const users = new zoho.Users.UsersOperations();
  costs("get_users", "users", 1);
  const active = await params([zoho.Users.GetUsersParam.TYPE, "ActiveUsers"]);
  const found = seen(await users.getUsers(active, PLAIN())).getUsers();
  assert.equal(found.length, 3);
  costs("get_user", "users", 1);
  const [one] = seen(await users.getUser(found[0].getId(), PLAIN())).getUsers();
  assert.equal(one.getEmail(), found[0].getEmail());
  costs("get_organisation", "org", 1);
  const [org] = seen(await new zoho.Org.OrgOperations().getOrganization()).getOrg();
  return String(org.getZgid());
}

/** Layouts and related lists of a module, roles and profiles of the organisation. */
async function peopleAndPlaces() {
  costs("get_layouts", "Leads", 1);
  const layoutsOf = await params([zoho.Layouts.GetLayoutsParam.MODULE, "Leads"]);
  const [layout] = seen(await new zoho.Layouts.LayoutsOperations().getLayouts(layoutsOf)).getLayouts();
  assert.ok(layout.getSections().length);
  costs("get_related_lists", "Leads", 1);
  const listsOf = await params([zoho.RelatedLists.GetRelatedListsParam.MODULE, "Leads"]);
  const lists = seen(await new zoho.RelatedLists.RelatedListsOperations().getRelatedLists(listsOf)).getRelatedLists();
  assert.ok(lists.some((one) => one.getAPIName() === "Notes"));
  costs("get_roles", "roles", 1);
  assert.ok(seen(await new zoho.Roles.RolesOperations().getRoles()).getRoles().length);
  costs("get_profiles", "profiles", 1);
  assert.ok(seen(await new zoho.Profiles.ProfilesOperations().getProfiles()).getProfiles().length);
}

/** A file on a lead: up, listed, down again, away. */
async function attachments(lead) {
  const { AttachmentsOperations, FileBodyWrapper, GetAttachmentsParam } = zoho.Attachments;
  const operations = new AttachmentsOperations();
  const id = BigInt(lead);
  const file = filled(new FileBodyWrapper(), { file: new zoho.StreamWrapper(null, null, `${directory}/leads.zip`) });
  costs("attachments", "Leads", 1);
  const [made] = each(await operations.uploadAttachments(id, "Leads", file));
  costs("attachments", "Leads", 1);
  const wanted = await params([GetAttachmentsParam.FIELDS, "id,File_Name"]);
  const [found] = seen(await operations.getAttachments(id, "Leads", wanted)).getData();
  assert.equal(found.getFileName(), "leads.zip");
  costs("attachment", "Leads", 1);
  const down = await seen(await operations.getAttachment(BigInt(made.get("id")), id, "Leads"));
  assert.deepEqual(down.getFile().getStream(), readFileSync(`${directory}/leads.zip`));
  costs("attachment", "Leads", 1);
  each(await operations.deleteAttachment(BigInt(made.get("id")), id, "Leads"));
  const { UploadUrlAttachmentsParam: Linked } = zoho.Attachments;
  const terms = await params([Linked.ATTACHMENTURL, "https://files.example/terms.pdf"], [Linked.TITLE, "Terms"]);
  costs("attachments", "Leads", 1);
  const [link] = each(await operations.uploadUrlAttachments(id, "Leads", terms));
  costs("attachments", "Leads", 1);
  const [listed] = seen(await operations.getAttachments(id, "Leads", wanted)).getData();
  assert.deepEqual([String(listed.getId()), listed.getFileName()], [String(link.get("id")), "Terms"]);
}

/** A file of nobody's yet: up and down again. */
async function files() {
  const { FilesOperations, BodyWrapper, GetFileParam } = zoho.Files;
  const upload = filled(new BodyWrapper(), { file: [new zoho.StreamWrapper(null, null, `${directory}/leads.zip`)] });
  costs("files", "files", 1);
  const [made] = each(await new FilesOperations().uploadFiles(upload, NONE()));
  costs("files", "files", 1);
  const asked = await params([GetFileParam.ID, made.get("id")]);
  const down = await seen(await new FilesOperations().getFile(asked));
  assert.deepEqual(down.getFile().getStream(), readFileSync(`${directory}/leads.zip`));
}

/** The API's own list of its paths, and of what the organisation may use. */
async function whatThereIs() {
  costs("list_apis", "settings", 1);
  const paths = seen(await new zoho.Apis.APIsOperations().getSupportedAPI()).getApis().map((one) => one.getPath());
  assert.ok(paths.includes("/crm/v8/coql"));
  const features = new zoho.Features.FeaturesOperations();
  costs("get_features", "settings", 1);
  const [feature] = seen(await features.getFeatureDetails(NONE())).getFeatures();
  costs("get_feature", "settings", 1);
  const [licences] = seen(await features.getFeatureDetail(feature.getAPIName(), NONE())).getFeatures();
  assert.equal(licences.getAPIName(), "user_licenses");
}

async function metadata() {
  const modules = new zoho.Modules.ModulesOperations();
  const fields = new zoho.Fields.FieldsOperations();
  costs("get_modules", "settings", 1);
  const names = seen(await modules.getModules(NONE(), PLAIN())).getModules().map((module) => module.getAPIName());
  assert.ok(names.includes("Leads") && names.includes("Contacts"));
  costs("get_module", "Leads", 1);
  seen(await modules.getModuleByAPIName("Leads"));
  costs("get_fields", "Leads", 1);
  const all = seen(await fields.getFields(await params([zoho.Fields.GetFieldsParam.MODULE, "Leads"]))).getFields();
  costs("get_field", "Leads", 1);
  const ofLeads = await params([zoho.Fields.GetFieldParam.MODULE, "Leads"]);
  const [field] = seen(await fields.getField(all[0].getId(), ofLeads)).getFields();
  assert.equal(field.getAPIName(), all[0].getAPIName());
  costs("create_fields", "Leads", 10); // 10 for each field
  const colour = filled(new zoho.Fields.Fields(), { fieldLabel: "Colour", dataType: "text", length: 40 });
  const created = filled(new zoho.Fields.BodyWrapper(), { fields: [colour] });
  const fieldsOf = await params([zoho.Fields.CreateFieldParam.MODULE, "Leads"]);
  const made = seen(await fields.createField(created, fieldsOf), 201).getFields();
  assert.deepEqual(made.map((one) => one.getCode().getValue()), ["SUCCESS"]);
}

// ------------------------------------------------------------------------------------------------------ records

/** Inserts, lists, gets and updates leads; the ids of thirty of them. */
async function records() {
  const { RecordOperations, GetRecordsParam, GetRecordHeader, GetRecordsHeader } = zoho.Record;
  const leads = new RecordOperations("Leads");
  learns("Leads");
  costs("insert_records", "Leads", 1);
  const made = each(await leads.createRecords(body([record({ Last_Name: "First", Company: "Acme" })]), PLAIN()), 201);
  const batch = Array.from({ length: 29 }, (_, n) =>
    record({ Last_Name: `Lead ${n}`, Company: "Acme", Email: `lead${n}@acme.example` })
  );
  costs("insert_records", "Leads", 3); // 29 records, one credit for each 10 begun
  made.push(...each(await leads.createRecords(body(batch), PLAIN()), 201));
  const ids = made.map((details) => String(details.get("id")));

  const some = [[GetRecordsParam.FIELDS, "Last_Name"], [GetRecordsParam.PER_PAGE, 20]];
  costs("get_records", "Leads", 1);
  const page = seen(await leads.getRecords(await params(...some), PLAIN()));
  assert.equal(page.getData().length, 20);
  costs("get_records", "Leads", 1);
  const rest = await params(...some, [GetRecordsParam.PAGE_TOKEN, page.getInfo().getNextPageToken()]);
  assert.equal(seen(await leads.getRecords(rest, PLAIN())).getData().length, 10);
  costs("get_records_sorted", "Leads", 1);
  const ordered = await params([GetRecordsParam.FIELDS, "Last_Name"], [GetRecordsParam.SORT_BY, "Created_Time"]);
  assert.equal(seen(await leads.getRecords(ordered, PLAIN())).getData().length, 30);
  costs("get_record", "Leads", 1);
  const [one] = seen(await leads.getRecord(BigInt(ids[0]), NONE(), PLAIN())).getData();
  assert.equal(one.getKeyValue("Last_Name"), "First");
  const since = new zoho.HeaderMap();
  await since.add(GetRecordHeader.IF_MODIFIED_SINCE, one.getModifiedTime());
  costs("get_record", "Leads", 1); // nothing new costs as much as something
  assert.equal((await leads.getRecord(BigInt(ids[0]), NONE(), since)).getStatusCode(), 304);
  for (const [hours, status] of [[-1, 200], [1, 304]]) { // from now
    const listSince = new zoho.HeaderMap();
    const at = new Date(Math.floor(Date.now() / 1000) * 1000 + hours * 3_600_000);
    await listSince.add(GetRecordsHeader.IF_MODIFIED_SINCE, at);
    costs("get_records", "Leads", 1);
    const listed = await leads.getRecords(await params([GetRecordsParam.FIELDS, "Last_Name"]), listSince);
    assert.equal(listed.getStatusCode(), status);
  }

  costs("update_record", "Leads", 1);
  each(await leads.updateRecord(BigInt(ids[0]), body([record({ City: "Denver" })]), PLAIN()));
  costs("update_records", "Leads", 2); // 11 records
  each(await leads.updateRecords(body(ids.slice(1, 12).map((id) => record({ City: "Austin" }, id))), PLAIN()));
  costs("update_records", "Leads", 1); // one is updated, the other is no lead
  const oneIsNone = body([record({ City: "Austin" }, ids[1]), record({ City: "Austin" }, "1")]);
  const mixed = seen(await leads.updateRecords(oneIsNone, PLAIN()), 207).getData();
  assert.deepEqual(mixed.map((result) => result.constructor.name), ["SuccessResponse", "APIException"]);
  const again = record({ Last_Name: "Lead 0", Company: "Acme", Email: "lead0@acme.example" });
  costs("upsert_records", "Leads", 1);
  each(await leads.upsertRecords(body([again], { duplicateCheckFields: ["Email"] }), PLAIN()));
  return ids;
}

async function finding() {
  const { RecordOperations, SearchRecordsParam, RecordCountParam } = zoho.Record;
  const leads = new RecordOperations("Leads");
  for (const [param, value, hits] of [
    [SearchRecordsParam.CRITERIA, "(City:equals:Austin)", 11],
    [SearchRecordsParam.EMAIL, "lead7@acme.example", 1],
    [SearchRecordsParam.WORD, "Denver", 1],
  ]) {
    costs("search_records", "Leads", 1);
    assert.equal(seen(await leads.searchRecords(await params([param, value]), PLAIN())).getData().length, hits);
  }
  costs("count_records", "Leads", 50);
  const counted = await leads.recordCount(await params([RecordCountParam.CRITERIA, "(City:equals:Austin)"]));
  assert.equal(Number(seen(counted).getCount()), 11);
  for (const [limit, price] of [[200, 1], [201, 2], [2_000, 3]]) {
    costs("query", "Leads", price);
    const query = filled(new zoho.Coql.BodyWrapper(), {
      selectQuery: `select Last_Name, Email from Leads where City = 'Austin' limit ${limit}`,
    });
    assert.equal(seen(await new zoho.Coql.CoqlOperations().getRecords(query)).getData().length, 11);
  }
}

/** A note on a lead, by the module of notes. */
async function notes(lead) {
  const { NotesOperations, BodyWrapper, Note, ParentId, GetNotesParam, GetNoteParam } = zoho.Notes;
  const operations = new NotesOperations();
  const one = (values) => filled(new BodyWrapper(), { data: [filled(new Note(), values)] });
  const parentId = filled(new ParentId(), { module: leadsModule(), id: BigInt(lead) });
  costs("change_notes", "Notes", 1);
  const made = await operations.createNotes(one({ noteTitle: "Call", noteContent: "Tomorrow", parentId }));
  const id = BigInt(each(made, 201)[0].get("id"));
  costs("get_notes", "Notes", 1);
  const wanted = await params([GetNotesParam.FIELDS, "Note_Title,Note_Content,Parent_Id"]);
  const [found] = seen(await operations.getNotes(wanted, PLAIN())).getData();
  assert.deepEqual([found.getNoteContent(), found.getParentId().getId()], ["Tomorrow", BigInt(lead)]);
  costs("get_record", "Notes", 1);
  const title = await params([GetNoteParam.FIELDS, "Note_Title,Note_Content"]);
  assert.equal(seen(await operations.getNote(id, title, PLAIN())).getData()[0].getNoteTitle(), "Call");
  costs("update_record", "Notes", 1);
  each(await operations.updateNote(id, one({ noteContent: "Next week" })));
  costs("delete_record", "Notes", 1);
  each(await operations.deleteNote(id));
}

/** The custom views of leads, and the leads of one. */
async function views() {
  const { CustomViewsOperations, GetCustomViewsParam, GetCustomViewParam } = zoho.CustomViews;
  const operations = new CustomViewsOperations();
  costs("get_custom_views", "Leads", 1);
  const all = seen(await operations.getCustomViews(await params([GetCustomViewsParam.MODULE, "Leads"])));
  const allLeads = all.getCustomViews().find((view) => view.getSystemName() === "ALLVIEWS");
  costs("other_settings", "Leads", 1);
  const ours = await params([GetCustomViewParam.MODULE, "Leads"]);
  const [one] = seen(await operations.getCustomView(allLeads.getId(), ours)).getCustomViews();
  assert.equal(one.getName(), allLeads.getName());
  costs("get_records_by_view", "Leads", 3); // three times what the same list costs without the view
  const { RecordOperations, GetRecordsParam } = zoho.Record;
  const viewed = await params([GetRecordsParam.FIELDS, "Last_Name"], [GetRecordsParam.CVID, String(allLeads.getId())]);
  assert.equal(seen(await new RecordOperations("Leads").getRecords(viewed, PLAIN())).getData().length, 30);
}

/** A second lead like the first, then one again; its id. */
async function cloningAndMerging(lead) {
  const { FindAndMergeOperations, BodyWrapper, Merge, MergeData } = zoho.FindAndMerge;
  costs("clone_record", "Leads", 1);
  const [clone] = each(await new zoho.Record.RecordOperations("Leads").cloneRecord(BigInt(lead)), 201);
  const child = filled(new MergeData(), { id: BigInt(clone.get("id")) });
  const merge = filled(new BodyWrapper(), { merge: [filled(new Merge(), { data: [child] })] });
  costs("merge_records", "Leads", 50);
  const merged = seen(await new FindAndMergeOperations("Leads", BigInt(lead)).mergeRecords(merge));
  assert.deepEqual(merged.getMerge().map((one) => one.getCode().getValue()), ["SUCCESS"]);
  return String(clone.get("id"));
}

/** A lead becomes contact, account and deal. */
async function converting(lead) {
  const { ConvertLeadOperations, LeadConverter, BodyWrapper } = zoho.ConvertLead;
  const stage = new zoho.Choice("Qualification");
  const deals = record({ Deal_Name: "First deal", Closing_Date: new Date("2030-01-31"), Stage: stage });
  const converter = filled(new LeadConverter(), { overwrite: true, notifyLeadOwner: false, deals });
  learns("Deals", "Accounts", "Contacts", "Vendors", "Campaigns");
  costs("convert_lead", "Leads", 5);
  const operations = new ConvertLeadOperations(BigInt(lead));
  const [details] = each(await operations.convertLead(filled(new BodyWrapper(), { data: [converter] })));
  assert.ok(["Contacts", "Accounts", "Deals"].every((module) => details.get(module))); // and it is no lead any more
}

/** Products put on a lead's list, listed there, and taken off. */
async function relating(lead) {
  const { RelatedRecordsOperations, BodyWrapper, GetRelatedRecordsParam, DelinkRecordsParam } = zoho.RelatedRecords;
  const id = BigInt(lead);
  learns("Products");
  costs("insert_records", "Products", 1);
  const products = body([record({ Product_Name: "Pen" }), record({ Product_Name: "Ink" })]);
  const inserted = each(await new zoho.Record.RecordOperations("Products").createRecords(products, PLAIN()), 201);
  const [pen, ink] = inserted.map((details) => BigInt(details.get("id")));
  const related = new RelatedRecordsOperations("Products", "Leads");
  const listed = (records) => filled(new BodyWrapper(), { data: records });
  costs("get_related_lists", "Leads", 1); // before its first call on a list the SDK asks which there are
  costs("related_records", "Leads", 1);
  each(await related.updateRelatedRecords(id, listed([record({}, pen), record({}, ink)]), PLAIN()));
  costs("related_records", "Leads", 1);
  const wanted = await params([GetRelatedRecordsParam.FIELDS, "Product_Name"]);
  const found = seen(await related.getRelatedRecords(id, wanted, PLAIN())).getData();
  assert.deepEqual(found.map((one) => one.getKeyValue("Product_Name")).sort(), ["Ink", "Pen"]);
  costs("related_record", "Leads", 1);
  const [one] = seen(await related.getRelatedRecord(pen, id, NONE(), PLAIN())).getData();
  assert.equal(one.getKeyValue("Product_Name"), "Pen");
  costs("related_record", "Leads", 1);
  each(await related.delinkRecord(pen, id, PLAIN()));
  costs("related_records", "Leads", 1);
  each(await related.delinkRecords(id, await params([DelinkRecordsParam.IDS, String(ink)]), PLAIN()));
  costs("related_record", "Leads", 1);
  each(await related.updateRelatedRecord(pen, id, listed([record({})]), PLAIN()));
}

/** All products of a view changed and then deleted, and leads converted; each by a job. */
async function byJobs() {
  const { RecordOperations, MassUpdateBodyWrapper, GetMassUpdateStatusParam } = zoho.Record;
  const { MassDeleteCvidOperations, CvidBodyWrapper, GetMassDeleteStatusParam } = zoho.MassDeleteCvid;
  const { MassConvertOperations, BodyWrapper, GetJobStatusParam } = zoho.MassConvert;
  const completed = ([found]) => (found.getStatus().getValue?.() ?? found.getStatus()) === "COMPLETED";
  costs("get_custom_views", "Products", 1);
  const ofProducts = await params([zoho.CustomViews.GetCustomViewsParam.MODULE, "Products"]);
  const views = seen(await new zoho.CustomViews.CustomViewsOperations().getCustomViews(ofProducts)).getCustomViews();
  const cvid = views.find((view) => view.getSystemName() === "ALLVIEWS").getId();
  const products = new RecordOperations("Products");
  const change = { data: [record({ Product_Code: "P1" })], cvid: String(cvid), overWrite: true };
  costs("mass_update", "Products", 1);
  const [job] = seen(await products.massUpdateRecords(filled(new MassUpdateBodyWrapper(), change)), 202).getData();
  const update = await params([GetMassUpdateStatusParam.JOB_ID, String(job.getDetails().get("job_id"))]);
  const [updated] = await poll(async () => seen(await products.getMassUpdateStatus(update)).getData(), {
    operation: "mass_update_status",
    module: "Products",
    until: completed,
  });
  assert.deepEqual([updated.getUpdatedCount(), updated.getTotalCount()].map(Number), [2, 2]);
  const doomed = new MassDeleteCvidOperations("Products");
  costs("mass_delete", "Products", 1); // how many is not in the request: as up to 100
  const [details] = each(await doomed.massDeleteByCvid(filled(new CvidBodyWrapper(), { cvid })), 202);
  const deletion = await params([GetMassDeleteStatusParam.JOB_ID, BigInt(details.get("job_id"))]);
  const [deleted] = await poll(async () => seen(await doomed.getMassDeleteStatus(deletion)).getData(), {
    operation: "mass_delete_status",
    module: "Products",
    until: completed,
  });
  assert.deepEqual([deleted.getDeletedCount(), deleted.getTotalCount()].map(Number), [2, 2]);

  costs("insert_records", "Leads", 1);
  const pair = body(["Goes", "Too"].map((name) => record({ Last_Name: name, Company: "Acme" })));
  const made = each(await new RecordOperations("Leads").createRecords(pair, PLAIN()), 201);
  const conversion = new MassConvertOperations();
  const both = filled(new BodyWrapper(), { ids: made.map((lead) => BigInt(lead.get("id"))) });
  costs("mass_convert_leads", "Leads", 200);
  const started = seen(await conversion.massConvert(both), 202).getDetails();
  const converting = await params([GetJobStatusParam.JOB_ID, BigInt(started.get("job_id"))]);
  const [converted] = await poll(async () => seen(await conversion.getJobStatus(converting)).getData(), {
    operation: "mass_convert_status",
    module: "Leads",
    until: completed,
  });
  assert.deepEqual([converted.getConvertedCount(), converted.getTotalCount()].map(Number), [2, 2]);
}

/** Tags made, put on one lead and on many, and taken off again. */
async function tags(ids) {
  const { TagsOperations, BodyWrapper, Tag, NewTagRequestWrapper, ExistingTag, ExistingTagRequestWrapper } = zoho.Tags;
  const operations = new TagsOperations();
  const tag = (name) => filled(new Tag(), { name });
  const existing = (name) => filled(new ExistingTag(), { name });
  const many = ids.slice(13).map(BigInt);
  costs("tag_metadata", "Leads", 1);
  const ofLeads = await params([zoho.Tags.CreateTagsParam.MODULE, "Leads"]);
  const fresh = filled(new BodyWrapper(), { tags: [tag("hot"), tag("cold")] });
  const made = seen(await operations.createTags(fresh, ofLeads), 201).getTags();
  assert.deepEqual(made.map((one) => one.getCode().getValue()), ["SUCCESS", "SUCCESS"]);
  costs("tag_metadata", "Leads", 1);
  const listed = seen(await operations.getTags(await params([zoho.Tags.GetTagsParam.MODULE, "Leads"]))).getTags();
  assert.deepEqual(listed.map((one) => one.getName()).sort(), ["cold", "hot"]);
  costs("add_tags_to_record", "Leads", 1);
  const hot = filled(new NewTagRequestWrapper(), { tags: [tag("hot")] });
  seen(await operations.addTags("Leads", many[0], hot, NONE()));
  costs("remove_tags_from_record", "Leads", 1);
  const hotOff = filled(new ExistingTagRequestWrapper(), { tags: [existing("hot")] });
  seen(await operations.removeTags("Leads", many[0], hotOff));
  costs("add_tags", "Leads", 1); // 17 leads, one credit for each 50 begun
  const cold = filled(new NewTagRequestWrapper(), { tags: [tag("cold")], ids: many });
  const tagged = seen(await operations.addTagsToMultipleRecords("Leads", cold, NONE()));
  assert.equal(Number(tagged.getSuccessCount()), 17);
  costs("remove_tags", "Leads", 1);
  const coldOff = filled(new ExistingTagRequestWrapper(), { tags: [existing("cold")], ids: many });
  seen(await operations.removeTagsFromMultipleRecords("Leads", coldOff, NONE()));
}

/** The same change to many leads, then many deleted. */
async function manyAtOnce(ids) {
  const { RecordOperations, MassUpdateBodyWrapper } = zoho.Record;
  const { MassDeleteCvidOperations, RecordIdBodyWrapper } = zoho.MassDeleteCvid;
  const leads = new RecordOperations("Leads");
  costs("mass_update", "Leads", 1);
  const change = { data: [record({ City: "Boston" })], ids: ids.slice(20, 24), overWrite: true };
  const results = seen(await leads.massUpdateRecords(filled(new MassUpdateBodyWrapper(), change))).getData();
  assert.deepEqual(results.map((result) => result.constructor.name), Array(4).fill("MassUpdateSuccessResponse"));
  const made = Array.from({ length: 100 }, (_, n) => record({ Last_Name: `Mass ${n}`, Company: "Acme" }));
  costs("insert_records", "Leads", 10);
  const first = each(await leads.createRecords(body(made), PLAIN()), 201);
  costs("insert_records", "Leads", 1);
  first.push(...each(await leads.createRecords(body([made[0]]), PLAIN()), 201));
  costs("mass_delete", "Leads", 2); // 101 leads, one credit for each 100 begun
  const doomed = filled(new RecordIdBodyWrapper(), { ids: first.map((details) => BigInt(details.get("id"))) });
  each(await new MassDeleteCvidOperations("Leads").massDeleteByRecordId(doomed));
}

async function deleting(ids, merged) {
  const { RecordOperations, DeleteRecordsParam, GetDeletedRecordsParam } = zoho.Record;
  const leads = new RecordOperations("Leads");
  costs("delete_record", "Leads", 1);
  each(await leads.deleteRecord(BigInt(ids[0]), NONE(), PLAIN()));
  costs("delete_records", "Leads", 1); // however many, up to 100
  each(await leads.deleteRecords(await params([DeleteRecordsParam.IDS, ids.slice(1, 13).join(",")]), PLAIN()));
  costs("get_deleted_records", "Leads", 2);
  const all = await params([GetDeletedRecordsParam.TYPE, "all"]);
  const gone = seen(await leads.getDeletedRecords(all, PLAIN())).getData();
  assert.deepEqual(gone.map((one) => String(one.getId())).sort(), [...ids.slice(0, 13), merged].sort());
}

// ------------------------------------------------------------------------------------------------ notifications

/** An address that takes notifications and callbacks, and what came there, one after the other. */
async function told() {
  const came = [];
  const waiting = [];
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const content = JSON.parse(Buffer.concat(parts).toString());
      waiting.length ? waiting.shift()(content) : came.push(content);
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const next = () =>
    new Promise((resolve, reject) => {
      if (came.length) return resolve(came.shift());
      waiting.push(resolve);
      setTimeout(() => reject(new Error("nothing was told in time")), WAIT_MS).unref();
    });
  return [`http://127.0.0.1:${server.address().port}/hook`, next];
}

async function notified(url, next) {
  const { Notification, NotificationsOperations, BodyWrapper, GetNotificationsParam, DeleteNotificationParam } =
    zoho.Notifications;
  const watch = new NotificationsOperations();
  const channelId = "1000000068001";
  const entry = (values) =>
    filled(new BodyWrapper(), { watch: [filled(new Notification(), { channelId, notifyUrl: url, ...values })] });
  costs("watch", "notifications", 1);
  const channelExpiry = new Date(Math.floor(Date.now() / 1000) * 1000 + 2 * 3_600_000);
  seen(await watch.enableNotifications(entry({ events: ["Contacts.create"], token: "t1", channelExpiry })), 201);
  costs("watch", "notifications", 1);
  const ours = await params([GetNotificationsParam.CHANNEL_ID, BigInt(channelId)]);
  const [found] = seen(await watch.getNotifications(ours)).getWatch();
  assert.equal(found.getNotifyUrl(), url);

  costs("insert_records", "Contacts", 1);
  const contacts = new zoho.Record.RecordOperations("Contacts");
  const [contact] = each(await contacts.createRecords(body([record({ Last_Name: "Told" })]), PLAIN()), 201);
  const notice = await next();
  assert.deepEqual([notice.ids, notice.operation, notice.token], [[String(contact.get("id"))], "insert", "t1"]);

  const changed = { events: ["Contacts.edit", "Leads.edit"] };
  costs("watch", "notifications", 1); // PUT replaces
  seen(await watch.updateNotifications(entry(changed)));
  costs("watch", "notifications", 1); // PATCH merges
  seen(await watch.updateNotification(entry(changed)));
  costs("watch", "notifications", 1); // PATCH with _delete_events removes what is listed
  seen(await watch.disableNotification(entry({ events: ["Contacts.edit"], deleteEvents: new zoho.Choice(true) })));
  costs("watch", "notifications", 1);
  seen(await watch.deleteNotification(await params([DeleteNotificationParam.CHANNEL_IDS, channelId])));
}

// ------------------------------------------------------------------------------------------------------- in bulk

async function bulkReading(url, next) {
  const { BulkReadOperations, Query, BodyWrapper, CallBack } = zoho.BulkRead;
  const jobs = new BulkReadOperations();
  const query = filled(new Query(), { module: leadsModule(), fields: ["Last_Name", "Email"], page: 1 });
  const callback = filled(new CallBack(), { url, method: new zoho.Choice("post") });
  costs("bulk_read", "", 50);
  const [job] = each(await jobs.createBulkReadJob(filled(new BodyWrapper(), { query, callback })), 201);
  assert.equal((await next()).data[0].state, "COMPLETED");
  const id = BigInt(job.get("id"));
  const [done] = await poll(async () => seen(await jobs.getBulkReadJobDetails(id)).getData(), {
    operation: "bulk_read_status",
    until: ([found]) => found.getState().getValue() === "COMPLETED",
  });
  costs("bulk_read_result", "", 1);
  const rows = (await csvOf(await jobs.downloadResult(id))).trim().split("\n");
  assert.equal(rows.length, 1 + 16);
  assert.equal(done.getResult().getCount(), 16);
  assert.equal(rows[0].trim(), "Id,Last_Name,Email");
}

async function bulkWriting(zgid) {
  const { BulkWriteOperations, FileBodyWrapper, UploadFileHeader, RequestWrapper, Resource, FieldMapping } =
    zoho.BulkWrite;
  const jobs = new BulkWriteOperations();
  const headers = new zoho.HeaderMap();
  await headers.add(UploadFileHeader.FEATURE, "bulk-write");
  await headers.add(UploadFileHeader.X_CRM_ORG, zgid);
  const upload = filled(new FileBodyWrapper(), { file: new zoho.StreamWrapper(null, null, `${directory}/leads.zip`) });
  costs("bulk_write_upload", "", 1);
  const fileId = String(seen(await jobs.uploadFile(upload, headers)).getDetails().get("file_id"));

  const mapping = (name, index) => {
    const made = filled(new FieldMapping(), { index });
    made.setAPIName(name);
    return made;
  };
  const resource = filled(new Resource(), {
    type: new zoho.Choice("data"),
    module: leadsModule(),
    fileId,
    fileNames: ["leads.csv"],
    fieldMappings: [mapping("Last_Name", 0), mapping("Email", 1)],
  });
  const request = filled(new RequestWrapper(), { operation: new zoho.Choice("insert"), resource: [resource] });
  costs("bulk_write", "", 500);
  const id = seen(await jobs.createBulkWriteJob(request), 201).getDetails().get("id");
  const done = await poll(async () => seen(await jobs.getBulkWriteJobDetails(String(id))), {
    operation: "bulk_write_status",
    until: (found) => (found.getStatus().getValue?.() ?? found.getStatus()) === "COMPLETED",
  });
  const counted = done.getResource()[0].getFile();
  assert.deepEqual([counted.getAddedCount(), counted.getTotalCount()], [40, 41]);
  costs("bulk_write_result", "", 1);
  const result = await jobs.downloadBulkWriteResult(done.getResult().getDownloadUrl().replace(/^\//, ""));
  assert.equal((await csvOf(result)).split("ADDED").length, 1 + 40);
}

/** The text of the first file in a downloaded archive. The SDK answers downloads with the promise of an object. */
async function csvOf(response) {
  const zip = (await seen(response)).getFile().getStream();
  assert.equal(zip.readUInt16LE(8), 8, "deflated");
  return inflateRawSync(zip.subarray(30 + zip.readUInt16LE(26) + zip.readUInt16LE(28))).toString();
}

await initialise();
const [url, next] = await told();
const zgid = await usersAndOrganisation();
await metadata();
await peopleAndPlaces();
await whatThereIs();
const ids = await records();
await finding();
await views();
await notes(ids[20]);
await attachments(ids[20]);
await files();
const merged = await cloningAndMerging(ids[20]);
await deleting(ids, merged);
await tags(ids);
await manyAtOnce(ids);
await converting(ids[20]);
await relating(ids[21]);
await byJobs();
await notified(url, next);
await bulkReading(url, next);
await bulkWriting(zgid);
console.log(JSON.stringify(calls));
process.exit(0);
