/* A database in memory and in a file: libsqlite3. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int show(void *unused, int columns, char **values, char **names)
{
	for (int i = 0; i < columns; i++)
		printf("%s=%s%c", names[i], values[i] ? values[i] : "NULL", i + 1 < columns ? ' ' : '\n');
	return unused != NULL;
}

static void twice(sqlite3_context *context, int count, sqlite3_value **values)
{
	sqlite3_result_double(context, count * 2 * sqlite3_value_double(values[0]));
}

static int backwards(void *unused, int m, const void *a, int n, const void *b)
{
	int order = memcmp(b, a, m < n ? m : n);
	return order ? order : n - m + (unused != NULL);
}

static const char *const statements[] = {
	"create table item(id integer primary key, name text unique, price real, kind int)",
	"create index by_kind on item(kind, price)",
	"create table log(what text, at int default 7)",
	"create trigger t after update on item begin insert into log(what) values(new.name); end",
	"with recursive n(i) as (select 1 union all select i + 1 from n where i < 500)"
	" insert into item select i, printf('item%03d', i * 7919 % 500), i * 1.25, i % 7 from n",
	"update item set price = price + 1 where kind = 3 and id < 60",
	"select kind, count(*), sum(price), avg(id), min(name), group_concat(id, '-') from item"
	" where id < 100 group by kind having count(*) > 3 order by 3 desc",
	"select a.name, b.name from item a join item b on a.id = b.id * 3 left join log on what = a.name"
	" where a.kind = 2 order by a.name limit 8",
	"select id, rank() over (partition by kind order by price desc) r, lag(id, 2) over (order by id) l"
	" from item where id between 20 and 40",
	"select json_extract('{\"a\":[1,2,{\"b\":\"x\"}]}', '$.a[2].b'), json_group_array(id) from item where id < 6",
	"select date('2024-02-29', '+1 year'), strftime('%j %W', 1700000000, 'unixepoch'), julianday(0)",
	"select upper(name) || substr(name, 2, 3), instr(name, '9'), replace(name, 'item', '#'), hex(name),"
	" round(price, 1), twice(price), quote(name), typeof(price) from item where name like '%99' or name glob '*0[1-4]'",
	"select count(*), total(at) from log",
	"select name from item where id < 15 order by name collate backwards",
	"explain query plan select * from item where kind = 3 and price > 10 order by price",
	"select * from missing",
	"insert into item values(1, 'again', 0, 0)",
	"select max(id) from item union select 7 except select 500 intersect select 7",
	"pragma integrity_check",
	"delete from item where id % 3 = 0",
	"alter table item add column extra text default 'x'",
	"select count(distinct kind), sum(length(extra)) from item",
	"vacuum",
};

int main(void)
{
	for (int pass = 0; pass < 2; pass++) {
		sqlite3 *db;
		sqlite3_open(pass ? "data.db" : ":memory:", &db);
		sqlite3_create_function(db, "twice", 1, SQLITE_UTF8, NULL, twice, NULL, NULL);
		sqlite3_create_collation(db, "backwards", SQLITE_UTF8, NULL, backwards);
		for (unsigned i = 0; i < sizeof statements / sizeof *statements; i++) {
			char *message = NULL;
			if (sqlite3_exec(db, statements[i], show, NULL, &message) != SQLITE_OK) {
				printf("%u: %s\n", i, message);
				sqlite3_free(message);
			}
		}
		sqlite3_stmt *statement;
		sqlite3_exec(db, "begin", NULL, NULL, NULL);
		sqlite3_prepare_v2(db, "insert into log values(?1, ?2)", -1, &statement, NULL);
		for (int i = 0; i < 300; i++) {
			sqlite3_bind_text(statement, 1, i % 2 ? "odd" : "even", -1, SQLITE_STATIC);
			sqlite3_bind_int64(statement, 2, (sqlite3_int64)i * i * i * 1000);
			sqlite3_step(statement);
			sqlite3_reset(statement);
		}
		sqlite3_finalize(statement);
		sqlite3_exec(db, "savepoint s; delete from log; rollback to s; commit", NULL, NULL, NULL);
		sqlite3_exec(db, "select what, sum(at), count(*) from log group by what", show, NULL, NULL);
		printf("%d %d\n", sqlite3_total_changes(db), sqlite3_close(db));
	}
	return 0;
}
