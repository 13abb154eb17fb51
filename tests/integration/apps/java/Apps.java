import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.Executors;

// The Java programs of the integration suite.
//   usage: Apps server PORT JDBC-URL    com.sun.net.httpserver in front of pgjdbc
//          Apps driver JDBC-URL         one workload through pgjdbc
public class Apps {
  private static final String CANARY = "literal-canary-4711";

  private static void server(int port, String url) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 128);
    ThreadLocal<Connection> connections = ThreadLocal.withInitial(() -> {
      try {
        return DriverManager.getConnection(url, "postgres", "");
      } catch (SQLException error) {
        throw new RuntimeException(error);
      }
    });
    server.createContext("/items/", exchange -> {
      byte[] body;
      try (PreparedStatement statement =
               connections.get().prepareStatement("SELECT name FROM items WHERE id = ?")) {
        statement.setInt(1, Integer.parseInt(exchange.getRequestURI().getPath().substring(7)));
        try (ResultSet rows = statement.executeQuery()) {
          body = (rows.next() ? rows.getString(1) : "none").getBytes();
        }
      } catch (SQLException error) {
        body = error.toString().getBytes();
      }
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.setExecutor(Executors.newFixedThreadPool(4));
    server.start();
  }

  private static void driver(String url) throws Exception {
    try (Connection connection = DriverManager.getConnection(url, "postgres", "")) {
      // From the fifth execution on the driver uses a named statement of the server.
      try (PreparedStatement statement = connection.prepareStatement("SELECT id, name FROM items WHERE id = ?")) {
        for (int i = 1; i <= 9; i++) {
          statement.setInt(1, i);
          try (ResultSet rows = statement.executeQuery()) {
            if (!rows.next()) throw new IllegalStateException("no row");
          }
        }
      }
      try (PreparedStatement statement =
               connection.prepareStatement("INSERT INTO log (who, what) VALUES (?, ?)")) {
        for (int i = 0; i < 5; i++) {
          statement.setString(1, "java");
          statement.setString(2, CANARY);
          statement.addBatch();
        }
        statement.executeBatch();
      }
      try (Statement statement = connection.createStatement()) {
        int count = 0;
        try (ResultSet rows = statement.executeQuery("SELECT name FROM items")) {
          while (rows.next()) count++;
        }
        if (count != 100) throw new IllegalStateException(count + " rows");
        statement.execute("SELECT name FROM items WHERE price > 90 AND name <> '" + CANARY + "'");
        statement.execute("SELECT 1; SELECT 2");
        try {
          statement.execute("SELECT * FROM missing_table");
          throw new IllegalStateException("the missing table was found");
        } catch (SQLException expected) {
          if (!"42P01".equals(expected.getSQLState())) throw expected;
        }
        connection.setAutoCommit(false);
        statement.executeUpdate("UPDATE items SET price = price + 1 WHERE id < 11");
        connection.commit();
        statement.setFetchSize(30);  // a portal, suspended and resumed
        count = 0;
        try (ResultSet rows = statement.executeQuery("SELECT id FROM items")) {
          while (rows.next()) count++;
        }
        if (count != 100) throw new IllegalStateException(count + " rows");
        connection.rollback();
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length == 3 && arguments[0].equals("server")) {
      server(Integer.parseInt(arguments[1]), arguments[2]);
    } else if (arguments.length == 2 && arguments[0].equals("driver")) {
      driver(arguments[1]);
    } else {
      System.err.println("unknown arguments");
      System.exit(2);
    }
  }
}
