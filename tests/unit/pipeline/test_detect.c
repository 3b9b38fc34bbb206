#include "pipeline/detect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FILE_MODE 0100644u
#define EXEC_MODE 0100755u
#define LINK_MODE 0120000u

static void finds_what_discover_finds_and_executables(void **state)
{
    static const struct {
        const char *path;
        uint32_t mode;
        detect_kind want;
    } cases[] = {
        { "tests/test_a.py", FILE_MODE, DETECT_PYTHON },
        { "tests/test_a.py", EXEC_MODE, DETECT_PYTHON },
        { "tests/test_a.py", LINK_MODE, DETECT_PYTHON },
        { "tests/test.py", FILE_MODE, DETECT_PYTHON },
        { "tests/a/b/testing9.py", FILE_MODE, DETECT_PYTHON },
        { "tests/test_\xc3\xa4.py", FILE_MODE, DETECT_PYTHON },
        { "tests/test-data.py", FILE_MODE, DETECT_NONE },
        { "tests/test-data.py", EXEC_MODE, DETECT_EXECUTABLE },
        { "tests/test_a.b.py", FILE_MODE, DETECT_NONE },
        { "tests/Test_a.py", FILE_MODE, DETECT_NONE },
        { "tests/a_test.py", FILE_MODE, DETECT_NONE },
        { "tests/test_a.pyc", FILE_MODE, DETECT_NONE },
        { "tests/__init__.py", FILE_MODE, DETECT_NONE },
        { "tests/run.sh", EXEC_MODE, DETECT_EXECUTABLE },
        { "tests/run.sh", FILE_MODE, DETECT_NONE },
        { "tests/run.sh", LINK_MODE, DETECT_NONE },
        { "tests/sub", 0160000u, DETECT_NONE },
        { "tests/.hidden/x", EXEC_MODE, DETECT_EXECUTABLE },
        { "tests", EXEC_MODE, DETECT_NONE },
        { "test_a.py", FILE_MODE, DETECT_NONE },
        { "src/tests/test_a.py", FILE_MODE, DETECT_NONE },
        { "testsuite/test_a.py", FILE_MODE, DETECT_NONE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (detect_file(slice_of(cases[i].path), cases[i].mode) != cases[i].want)
            fail_msg("%s %o", cases[i].path, cases[i].mode);
}

static void a_unit_is_run_by_its_name(void **state)
{
    (void)state;
    assert_int_equal(detect_unit(SLICE("tests/test_a.py")), DETECT_PYTHON);
    assert_int_equal(detect_unit(SLICE("tests/test-a.py")), DETECT_EXECUTABLE);
    assert_int_equal(detect_unit(SLICE("test.py")), DETECT_PYTHON);
    assert_int_equal(detect_unit(SLICE("")), DETECT_EXECUTABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_discover_finds_and_executables),
        cmocka_unit_test(a_unit_is_run_by_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
