#include "report/junit.h"

#include "told.h"

DEFINE_CLEANUP(junit *, junit_free);

/* Reads it in pieces of `step` bytes. */
static volt_code read_in(const char *xml, size_t step, buf *told, volt_err *err)
{
    CLEANUP(junit_free)
    junit *j = junit_new(told_take, told);
    size_t n = strlen(xml);
    volt_code rc = VOLT_OK;

    for (size_t at = 0; !rc && at < n; at += step)
        rc = junit_feed(j, (slice){ xml + at, n - at < step ? n - at : step }, err);
    return rc ? rc : junit_end(j, err);
}

static void tells(const char *xml, const char *want)
{
    for (size_t step = 1; step < 5000; step = step * 7 + 1) {
        CLEANUP(buf)
        buf told = { 0 };
        volt_err err = { 0 };

        if (read_in(xml, step, &told, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(buf_str(&told), want);
    }
}

static void refuses(const char *xml, const char *want)
{
    CLEANUP(buf)
    buf told = { 0 };
    volt_err err = { 0 };

    assert_int_equal(read_in(xml, 4096, &told, &err), VOLT_EINVALID);
    assert_string_equal(err.msg, want);
}

/* ---- dialects ---- */

static void reads_pytest(void **state)
{
    (void)state;
    tells("<?xml version=\"1.0\" encoding=\"utf-8\"?><testsuites><testsuite name=\"pytest\" "
          "errors=\"1\" failures=\"1\" skipped=\"1\" tests=\"4\" time=\"0.081\" "
          "timestamp=\"2024-05-01T10:00:00.000000\" hostname=\"h\">"
          "<testcase classname=\"tests.test_a.TestSum\" name=\"test_adds[1-2]\" time=\"0.0014\" />"
          "<testcase classname=\"tests.test_a\" name=\"test_breaks\" time=\"0.012\"><failure "
          "message=\"AssertionError: assert 1 == 2\">def test_breaks():\n&gt;       assert 1 == "
          "2\nE       AssertionError: assert 1 == 2\n\ntests/test_a.py:9: AssertionError</failure>"
          "</testcase>"
          "<testcase classname=\"tests.test_a\" name=\"test_fixture\" time=\"0.001\"><error "
          "message=\"failed on setup with &quot;OSError: no&quot;\">OSError</error></testcase>"
          "<testcase classname=\"tests.test_a\" name=\"test_skips\" time=\"0.000\"><skipped "
          "type=\"pytest.skip\" message=\"no network\">/x/test_a.py:20: no network</skipped>"
          "</testcase></testsuite></testsuites>",
          "passed 1 tests.test_a.TestSum.test_adds[1-2]\n"
          "failed 12 tests.test_a.test_breaks | def test_breaks():\\n>       assert 1 == 2\\n"
          "E       AssertionError: assert 1 == 2\\n\\ntests/test_a.py:9: AssertionError\n"
          "errored 1 tests.test_a.test_fixture | failed on setup with \"OSError: no\"\\nOSError\n"
          "skipped 0 tests.test_a.test_skips | pytest.skip: /x/test_a.py:20: no network\n");
}

static void reads_surefire_and_its_reruns(void **state)
{
    (void)state;
    tells(
        "<testsuite xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" name=\"org.x.FooTest\" "
        "time=\"1,234.5\" tests=\"4\" errors=\"0\" skipped=\"0\" failures=\"1\">"
        "<properties><property name=\"java.version\" value=\"21\"/></properties>"
        "<testcase name=\"adds\" classname=\"org.x.FooTest\" time=\"1,234.5\"/>"
        "<testcase name=\"flakes\" classname=\"org.x.FooTest\" time=\"0.2\"><flakyFailure "
        "message=\"once\" type=\"java.lang.AssertionError\"><stackTrace>at org.x.FooTest:3"
        "</stackTrace></flakyFailure><flakyError type=\"E\"/></testcase>"
        "<testcase name=\"breaks\" classname=\"org.x.FooTest\" time=\"0.3\"><failure "
        "message=\"expected: &lt;1&gt;\" type=\"org.opentest4j.AssertionFailedError\">"
        "<![CDATA[org.opentest4j.AssertionFailedError: expected: <1>\n\tat org.x.FooTest]]>"
        "</failure><rerunFailure type=\"X\"/><system-out>noise <failure/></system-out></testcase>"
        "<testcase name=\"again\" classname=\"org.x.FooTest\"><rerunFailure message=\"m\"/>"
        "</testcase></testsuite>",
        "passed 1234500 org.x.FooTest.adds\n"
        "flaky 200 org.x.FooTest.flakes | java.lang.AssertionError: once\\nat org.x.FooTest:3\n"
        "failed 300 org.x.FooTest.breaks | org.opentest4j.AssertionFailedError: expected: <1>\\n"
        "\tat org.x.FooTest\n"
        "flaky 0 org.x.FooTest.again | m\n");
}

static void reads_jest_junit(void **state)
{
    (void)state;
    tells("<testsuites name=\"jest tests\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.9\">"
          "<testsuite name=\"sums\" errors=\"0\" failures=\"1\" skipped=\"0\" tests=\"2\">"
          "<testcase classname=\"sums adds\" name=\"sums adds\" time=\"0.004\"></testcase>"
          "<testcase classname=\"sums breaks\" name=\"sums breaks\" time=\"0.002\"><failure>Error: "
          "expect(received).toBe(expected)\n    at a.test.js:4</failure></testcase>"
          "</testsuite></testsuites>",
          "passed 4 sums adds\n"
          "failed 2 sums breaks | Error: expect(received).toBe(expected)\\n    at a.test.js:4\n");
}

static void reads_gotestsum(void **state)
{
    (void)state;
    tells("<testsuites tests=\"3\" failures=\"1\" errors=\"0\" time=\"0.3\">"
          "<testsuite tests=\"3\" failures=\"1\" name=\"example.org/x/sum\">"
          "<testcase classname=\"example.org/x/sum\" name=\"TestAdd/small\" time=\"0.010000\">"
          "</testcase>"
          "<testcase classname=\"example.org/x/sum\" name=\"TestSkip\" time=\"0.0\"><skipped "
          "message=\"    sum_test.go:9: not here\"></skipped></testcase>"
          "<testcase classname=\"example.org/x/sum\" name=\"TestBad\" time=\"0.0\"><failure "
          "message=\"Failed\" type=\"\">=== RUN   TestBad\n    sum_test.go:14: 3\n</failure>"
          "</testcase></testsuite></testsuites>",
          "passed 10 example.org/x/sum.TestAdd/small\n"
          "skipped 0 example.org/x/sum.TestSkip | sum_test.go:9: not here\n"
          "failed 0 example.org/x/sum.TestBad | Failed\\n=== RUN   TestBad\\n    sum_test.go:14: "
          "3\n");
}

static void reads_ctest(void **state)
{
    (void)state;
    tells(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"Linux-c++\"\n\ttests=\"4\"\n"
        "\tfailures=\"1\"\n\tdisabled=\"1\"\n\tskipped=\"1\"\n>\n"
        "\t<testcase name=\"good\" classname=\"good\" time=\"0.00213\" status=\"run\"/>\n"
        "\t<testcase name=\"bad\" classname=\"bad\" time=\"0.01\" status=\"fail\">\n"
        "\t\t<failure message=\"Failed\"/><system-out>x</system-out></testcase>\n"
        "\t<testcase name=\"gone\" classname=\"gone\" time=\"0\" status=\"notrun\">"
        "<skipped message=\"Unable to find executable\"/></testcase>\n"
        "\t<testcase name=\"off\" classname=\"off\" time=\"0\" status=\"disabled\"/>\n"
        "\t<testcase name=\"silent\" classname=\"silent\" status=\"fail\"/>\n</testsuite>\n",
        "passed 2 good\n"
        "failed 10 bad | Failed\n"
        "skipped 0 gone | Unable to find executable\n"
        "skipped 0 off\n"
        "failed 0 silent\n");
}

static void reads_node(void **state)
{
    (void)state;
    tells("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n"
          "\t<testcase name=\"adds\" time=\"0.000541\" classname=\"test\"/>\n"
          "\t<testsuite name=\"sums\" time=\"0.001\" disabled=\"0\" errors=\"0\" tests=\"2\" "
          "failures=\"1\" skipped=\"1\" hostname=\"h\">\n"
          "\t\t<testcase name=\"breaks\" time=\"0.5e-3\" classname=\"test\" failure=\"no\">\n"
          "\t\t\t<failure type=\"testCodeFailure\" message=\"no\">\nError: no\n    at t.mjs:3 {\n"
          "  code: 'X'\n}\n\t\t\t</failure>\n\t\t</testcase>\n"
          "\t\t<testcase name=\"waits\" time=\"0\" classname=\"test\"><skipped type=\"todo\" "
          "message=\"true\"/></testcase>\n\t</testsuite>\n\t<!-- tests 3 -->\n</testsuites>\n",
          "passed 1 adds\n"
          "failed 1 sums.breaks | testCodeFailure: Error: no\\n    at t.mjs:3 {\\n  code: 'X'\\n}\n"
          "skipped 0 sums.waits | todo: true\n");
}

/* ---- what must not look green ---- */

static void a_suite_that_failed_is_a_case(void **state)
{
    (void)state;
    tells("<testsuite name=\"s\" errors=\"1\"><error message=\"cannot be imported\"/></testsuite>",
          "errored 0 s | cannot be imported\n");
    tells("<testsuites failures=\"2\"><testsuite name=\"a\" failures=\"2\"><testcase name=\"x\"/>"
          "</testsuite><testsuite name=\"b\" failures=\"0\"/></testsuites>",
          "passed 0 a.x\n"
          "errored 0 a | the report counts 2 that did not pass here, and names none\n");
    /* Inner suites know; googletest and others count sums. */
    tells("<testsuites failures=\"1\"><testsuite name=\"a\" failures=\"1\"><testsuite name=\"b\" "
          "failures=\"1\"><testcase name=\"x\"><failure/></testcase></testsuite></testsuite>"
          "</testsuites>",
          "failed 0 b.x\n");
}

static void the_worst_element_decides(void **state)
{
    (void)state;
    tells("<testsuite name=\"s\"><testcase name=\"a\"><skipped message=\"s\"/><error "
          "message=\"e\"/><failure message=\"f\"/></testcase></testsuite>",
          "errored 0 s.a | e\n");
    tells("<testsuite><testcase><failure/></testcase><testcase classname=\"c\"/></testsuite>",
          "failed 0 (without a name)\npassed 0 c\n");
    tells("<testsuite/>", "");
    tells("<testsuites><x><testcase name=\"a\"><y><failure/></y></testcase></x></testsuites>",
          "passed 0 a\n");
}

/* ---- limits ---- */

static void cuts_at_the_end_of_a_character(void **state)
{
    CLEANUP(buf)
    buf xml = { 0 }, want = { 0 };

    (void)state;
    buf_adds(&xml, "<testsuite><testcase name=\"x");
    for (size_t i = 0; i < 2000; i++)
        buf_adds(&xml, "\xc3\xa4");
    buf_adds(&xml, "\"><failure>y");
    for (size_t i = 0; i < 9000; i++)
        buf_adds(&xml, "\xe2\x82\xac");
    buf_adds(&xml, "</failure></testcase></testsuite>");
    buf_adds(&want, "failed 0 x");
    for (size_t i = 0; i < 255; i++)
        buf_adds(&want, "\xc3\xa4");
    buf_adds(&want, " | y");
    for (size_t i = 0; i < 341; i++)
        buf_adds(&want, "\xe2\x82\xac");
    buf_adds(&want, "\n");
    tells(buf_str(&xml), buf_str(&want));
}

static void refuses_what_is_no_report(void **state)
{
    (void)state;
    refuses("", "line 1, column 1: no element found");
    refuses("passed\n", "line 1, column 1: syntax error");
    refuses("<html/>",
            "line 1, column 1: a report begins with <testsuites> or <testsuite>, not <html>");
    refuses("<testsuite>\n<testcase name='a'>\n</testsuite>", "line 3, column 3: mismatched tag");
    refuses("<testsuite>\n<testcase name='a'/>\n", "line 3, column 1: no element found");
    refuses("<testsuite>\n <testcase name='\xff'/></testsuite>",
            "line 2, column 18: not well-formed (invalid token)");
    refuses("<testsuite>\x1b[31m</testsuite>",
            "line 1, column 12: not well-formed (invalid token)");
    refuses("<?xml version='1.0' encoding='x-koi'?><testsuite/>",
            "line 1, column 31: unknown encoding");
}

static void refuses_doctypes_and_entities(void **state)
{
    (void)state;
    refuses("<?xml version='1.0'?>\n<!DOCTYPE t [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>"
            "<testsuite name='&b;'/>",
            "line 2, column 13: it has a DOCTYPE, which is refused");
    refuses("<!DOCTYPE testsuite SYSTEM 'file:///etc/passwd'><testsuite/>",
            "line 1, column 48: it has a DOCTYPE, which is refused");
    refuses("<testsuite name='&x;'/>", "line 1, column 1: undefined entity");
}

static void refuses_depth(void **state)
{
    CLEANUP(buf)
    buf xml = { 0 };

    (void)state;
    for (size_t i = 0; i <= JUNIT_DEPTH_MAX; i++)
        buf_adds(&xml, "<testsuite>");
    refuses(buf_str(&xml), "line 1, column 705: elements are nested more than 64 deep");
}

static void refuses_size(void **state)
{
    static char blanks[1 << 20];
    CLEANUP(buf)
    buf told = { 0 };
    CLEANUP(junit_free)
    junit *j = junit_new(told_take, &told);
    volt_err err = { 0 };

    (void)state;
    memset(blanks, ' ', sizeof blanks);
    assert_int_equal(junit_feed(j, SLICE("<testsuite>"), &err), VOLT_OK);
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(junit_feed(j, (slice){ blanks, sizeof blanks }, &err), VOLT_OK);
    assert_int_equal(junit_feed(j, (slice){ blanks, sizeof blanks }, &err), VOLT_EFULL);
    assert_string_equal(err.msg, "line 1, column 15728652: it is larger than 16 MiB");
    assert_int_equal(junit_feed(j, SLICE("</testsuite>"), &err), VOLT_EFULL);
    assert_int_equal(junit_end(j, &err), VOLT_EFULL);
}

static void reads_times(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        { "1", 1000 },
        { "0.0004", 0 },
        { "0.0005", 1 },
        { "1e-05", 0 },
        { "12,345.6", 12345600 },
        { "-1", 0 },
        { "", 0 },
        { "nan", 0 },
        { "inf", 0 },
        { "0x10", 0 },
        { "1.5s", 0 },
        { " 2 ", 2000 },
        { "1e300", MSG_TIME_MAX },
        { "1.2.3", 0 },
        { "00000000000000000000000000000000000001", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (report_time_ms(slice_of(cases[i].text), 1000) != cases[i].want)
            fail_msg("'%s'", cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_pytest),
        cmocka_unit_test(reads_surefire_and_its_reruns),
        cmocka_unit_test(reads_jest_junit),
        cmocka_unit_test(reads_gotestsum),
        cmocka_unit_test(reads_ctest),
        cmocka_unit_test(reads_node),
        cmocka_unit_test(a_suite_that_failed_is_a_case),
        cmocka_unit_test(the_worst_element_decides),
        cmocka_unit_test(cuts_at_the_end_of_a_character),
        cmocka_unit_test(refuses_what_is_no_report),
        cmocka_unit_test(refuses_doctypes_and_entities),
        cmocka_unit_test(refuses_depth),
        cmocka_unit_test(refuses_size),
        cmocka_unit_test(reads_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
