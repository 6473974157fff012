package org.openapitools.client;

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** The filter by members of metadata. The libraries native and apache-httpclient of openapi-generator call its method, and lack it. */
public class MetadataFilter extends TreeMap<String, String> {
  public String toUrlQueryString(String parameter) {
    return entrySet().stream()
        .map(member -> encode(parameter + "[" + member.getKey() + "]") + "=" + encode(member.getValue()))
        .collect(Collectors.joining("&"));
  }

  private static String encode(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8);
  }
}
