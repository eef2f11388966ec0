/*-------------------------------------------------------------------------
 *
 * script.c
 *	  Scripts: read from files, drawn, made into SQL.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"

/* What is drawn at random: from 1 to the number of them, the small ones often. */
typedef struct Domain
{
	const char *name;
	int count;
	int many; /* elements of the array :names */
} Domain;

static const Domain domains[] = {
	{"item", 400, 100}, {"twin", 60, 10},  {"shelf", 60, 10},  {"owner", 40, 10},
	{"pet", 120, 10},	{"grp", 19, 4},	   {"total", 9, 4},	   {"entry", 50, 4},
	{"wide", 30, 10},	{"crate", 30, 10}, {"secret", 40, 10}, {"any", 1000000, 4},
};

static void
fail(const char *file, const char *what)
{
	fprintf(stderr, "checker: %s: %s\n", file, what);
	exit(2);
}

static char *
trimmed(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char) end[-1]))
		*--end = '\0';
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

static void
read_header(const char *file, Script *script, char *line)
{
	char *word = strtok(line, " ");

	snprintf(script->name, NAME_SIZE, "%s", word);
	while ((word = strtok(NULL, " ")) != NULL)
	{
		size_t used = strlen(script->expected);

		if (strcmp(word, "primary") == 0)
			script->primary_only = true;
		else if (strcmp(word, "rare") == 0)
			script->rare = true;
		else if (strcmp(word, "recheck") == 0)
			script->recheck = true;
		else if (strlen(word) < 5)
			script->weight = atoi(word);
		else
			snprintf(script->expected + used, sizeof(script->expected) - used, "%s ",
					 word);
	}
	if (script->weight == 0)
		script->weight = 1;
	(void) file;
}

/* Cut the word off that says what becomes of the result. */
static void
read_result(Step *step)
{
	static const struct
	{
		const char *word;
		StepResult result;
	} words[] = {{"\\gset", RESULT_KEPT},
				 {"\\compare", RESULT_COMPARED},
				 {"\\copy ", RESULT_COPY},
				 {"\\declare ", RESULT_NONE}};

	for (int i = 0; i < 4; i++)
	{
		char *place = strstr(step->text, words[i].word);

		if (!place)
			continue;
		*place = '\0';
		step->result = words[i].result;
		place += strlen(words[i].word);
		if (step->result == RESULT_COPY)
			step->copy = place;
		else if (step->result == RESULT_NONE)
			step->declared = place;
		return;
	}
}

static void
add_step(const char *file, Script *script, StepKind kind, const char *text)
{
	Step *step = &script->steps[script->step_count++];

	if (script->step_count == MAX_STEPS)
		fail(file, "a script is too long");
	step->kind = kind;
	step->text = strdup(text);
	if (kind == STEP_STATEMENT)
		read_result(step);
}

static bool
add_command(const char *file, Script *script, const char *line)
{
	static const struct
	{
		const char *word;
		StepKind kind;
	} words[] = {{"\\check ", STEP_CHECK},
				 {"\\sleep ", STEP_SLEEP},
				 {"\\publish ", STEP_PUBLISH},
				 {"\\subscribe ", STEP_SUBSCRIBE}};

	for (int i = 0; i < 4; i++)
		if (strncmp(line, words[i].word, strlen(words[i].word)) == 0)
		{
			add_step(file, script, words[i].kind, line + strlen(words[i].word));
			return true;
		}
	return false;
}

/* A statement ends where a line ends with ";" or holds a backslash command. */
static bool
is_end(const char *line)
{
	return line[strlen(line) - 1] == ';' || strchr(line, '\\') != NULL;
}

void
script_read(Checker *checker, const char *file, Book *book)
{
	char path[1024];
	char line[SQL_SIZE];
	char statement[SQL_SIZE] = "";
	Script *script = NULL;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s.sql", checker->scripts, file);
	stream = fopen(path, "r");
	if (!stream)
		fail(path, "cannot be read");
	book->name = file;
	book->scripts = calloc(100, sizeof(Script));
	while (fgets(line, sizeof(line), stream))
	{
		char *text = trimmed(line);

		if (strncmp(text, "-- script ", 10) == 0 || strncmp(text, "-- check ", 9) == 0)
		{
			script = &book->scripts[book->count++];
			read_header(path, script, strchr(text + 3, ' ') + 1);
			book->weight += script->weight;
		}
		else if (*text == '\0' || strncmp(text, "--", 2) == 0)
			continue;
		else if (!script || strlen(statement) + strlen(text) + 2 > sizeof(statement))
			fail(path, "a statement stands nowhere, or is too long");
		else if (*statement != '\0' || !add_command(path, script, text))
		{
			strcat(strcat(statement, text), "\n");
			if (!is_end(text))
				continue;
			add_step(path, script, STEP_STATEMENT, trimmed(statement));
			*statement = '\0';
		}
	}
	fclose(stream);
	if (*statement != '\0')
		fail(path, "the last statement has no end");
}

const Script *
script_find(const Book *book, const char *name)
{
	for (int i = 0; i < book->count; i++)
		if (strcmp(book->scripts[i].name, name) == 0)
			return &book->scripts[i];
	fail(book->name, name);
	return NULL;
}

Script *
script_draw(Session *session)
{
	Book *book = session->book;

	for (;;)
	{
		int place = draw(&session->random, book->weight);
		Script *script = book->scripts;

		while (place >= script->weight)
			place -= (script++)->weight;
		if (!script->primary_only || !session->target->standby)
			return script;
	}
}

void
script_forget(Session *session)
{
	for (int i = 0; i < session->variable_count; i++)
		free(session->variables[i].value);
	session->variable_count = 0;
}

void
script_keep(Session *session, const char *name, const char *value)
{
	Variable *variable = &session->variables[session->variable_count];

	if (session->variable_count == 32)
		fail(session->script->name, "too many variables");
	session->variable_count++;
	snprintf(variable->name, NAME_SIZE, "%s", name);
	variable->value = strdup(value);
}

/* Half of them among the first few. */
static int
draw_skewed(Session *session, const Domain *domain)
{
	double uniform = (double) draw(&session->random, 1 << 30) / (1 << 30);

	if (domain->count > 1000)
		return 1 + draw(&session->random, domain->count);
	return 1 + (int) (domain->count * pow(uniform, 3));
}

/* "item2" is another item than "item"; "items" an array of them. */
static const char *
draw_variable(Session *session, const char *name)
{
	char text[1024];
	size_t length = strlen(name);

	while (length > 0 && isdigit((unsigned char) name[length - 1]))
		length--;
	if (strcmp(name, "me") == 0)
	{
		snprintf(text, sizeof(text), "%d", session->number);
		script_keep(session, name, text);
		return session->variables[session->variable_count - 1].value;
	}
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
	{
		const Domain *domain = &domains[i];
		size_t own = strlen(domain->name);
		bool many = length == own + 1 && name[own] == 's';
		int used = 0;

		if (strncmp(name, domain->name, own) != 0 || (length != own && !many))
			continue;
		if (!many)
			used = snprintf(text, sizeof(text), "%d", draw_skewed(session, domain));
		for (int n = 0; many && n < domain->many; n++)
			used += snprintf(text + used, sizeof(text) - used, "%s%d", n ? "," : "'{",
							 draw_skewed(session, domain));
		if (many)
			snprintf(text + used, sizeof(text) - used, "}'::int[]");
		script_keep(session, name, text);
		return session->variables[session->variable_count - 1].value;
	}
	return NULL;
}

static const char *
variable_value(Session *session, const char *name)
{
	for (int i = 0; i < session->variable_count; i++)
		if (strcmp(session->variables[i].name, name) == 0)
			return session->variables[i].value;
	return draw_variable(session, name);
}

/* {a|b|}: one of them, in place.  Braces without "|" are left as they are. */
static void
choose(Session *session, const char *text, char *chosen)
{
	while (*text != '\0')
	{
		const char *end = *text == '{' ? strchr(text, '}') : NULL;
		const char *bar = end ? memchr(text, '|', end - text) : NULL;
		int count = 1;
		int which;

		if (!bar)
		{
			*chosen++ = *text++;
			continue;
		}
		for (const char *c = text; c < end; c++)
			count += *c == '|';
		which = draw(&session->random, count);
		for (text++; which > 0; text++)
			which -= *text == '|';
		while (*text != '|' && *text != '}')
			*chosen++ = *text++;
		text = end + 1;
	}
	*chosen = '\0';
}

/* Text with choices made and variables put in, into sql of SQL_SIZE bytes. */
void
script_expand(Session *session, const char *text, char *sql)
{
	char chosen[SQL_SIZE];
	const char *from = chosen;
	char *end = sql + SQL_SIZE - 1;

	choose(session, text, chosen);
	while (*from != '\0' && sql < end)
	{
		char name[NAME_SIZE];
		size_t length = 0;
		const char *value;

		if (from[0] == ':' && from[1] == ':')
		{
			*sql++ = *from++;
			*sql++ = *from++;
			continue;
		}
		while (*from == ':' && isalnum((unsigned char) from[1 + length]) &&
			   length < NAME_SIZE - 1)
			length++;
		memcpy(name, from + 1, length);
		name[length] = '\0';
		value = length > 0 ? variable_value(session, name) : NULL;
		if (!value)
			*sql++ = *from++;
		else
		{
			if (sql + strlen(value) >= end)
				fail(session->script->name, "a statement became too long");
			sql = stpcpy(sql, value);
			from += 1 + length;
		}
	}
	*sql = '\0';
}
