import java.nio.file.Files;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.MetadataFilter;
import org.openapitools.client.api.CallsApi;
import org.openapitools.client.api.CallsApi.APIListCallsRequest;
import org.openapitools.client.api.ChangesApi;
import org.openapitools.client.api.ImportAndExportApi;
import org.openapitools.client.api.ImportAndExportApi.APIExportCallsRequest;
import org.openapitools.client.model.CallInput;
import org.openapitools.client.model.CallRecord;

/** Real calls with the client that openapi-generator makes of the contract for Java. The argument is the service. */
public class Calls {
  static void expect(boolean truth, Object seen) {
    if (!truth) throw new AssertionError(seen);
  }

  public static void main(String[] args) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(args[0]);
    CallsApi calls = new CallsApi(client);
    for (String id : List.of("java-1", "java-2")) {
      CallInput input = new CallInput().status("completed").startTime(1737062894.975);
      input.metadata(java.util.Map.of("ticket", id));
      calls.replaceCall("java", id, input, null, null, null, null);
    }
    MetadataFilter metadata = new MetadataFilter();
    metadata.put("ticket", "java-2");
    List<CallRecord> found =
        calls.listCalls(APIListCallsRequest.newBuilder().xWorkspaceId("java").metadata(metadata).build());
    expect(found.size() == 1 && found.get(0).getId().equals("java-2"), found);
    expect(found.get(0).getStartTime() == 1737062894.975, found);
    var request = APIExportCallsRequest.newBuilder().xWorkspaceId("java").build();
    String lines = Files.readString(new ImportAndExportApi(client).exportCalls(request).toPath());
    expect(lines.lines().count() == 2, lines);
    var changes = new ChangesApi(client).listCallChanges("java", null, null, null, null);
    expect(changes.getChanges().get(1).getVersion() == 2L, changes);
    try {
      calls.getCall("java", "none", null);
      throw new AssertionError("a record that does not exist was read");
    } catch (ApiException error) {
      expect(error.getCode() == 404 && error.getResponseBody().contains("call_not_found"), error);
    }
    System.out.println("Java: listed by metadata, exported, followed");
  }
}
